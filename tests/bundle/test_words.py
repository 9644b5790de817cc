"""What the words of a command mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from gproc.bundle.command import prefixes, words


def names(tmp_path: Path, *command: str) -> list[str]:
    found = words.meant(command, str(tmp_path), {"HOME": str(tmp_path / "home")})
    return [ran.name.removeprefix(f"{tmp_path}/") for ran in found.programs]


@pytest.mark.parametrize(
    ("command", "runs"),
    [
        ("env A=1 -u B ./prog x", ["prog"]),
        ("env -i PATH=/bin prog", ["prog"]),
        ("timeout -k 5 9 ./prog", ["prog"]),
        ("nice -n 5 ./prog", ["prog"]),
        ("nice -5 ./prog", ["prog"]),
        ("taskset -c 0,1 prog", ["prog"]),
        ("taskset 1 prog", ["prog"]),
        ("stdbuf -oL -e 0 prog", ["prog"]),
        ("xargs -n 1 -P2 prog -x", ["prog"]),
        ("setsid -w prog", ["prog"]),
        ("mpiexec -n 2 ./prog", ["prog"]),
        ("mpiexec.mpich -n 1 ./one : -n 7 ./prog x", ["one", "prog"]),
        ("env A=1 timeout 9 nice ./prog", ["timeout", "nice", "prog"]),
        ("tar tf t.tar.xz", ["xz"]),
        ("solver --steps 9", []),
    ],
)
def test_a_prefix_is_looked_through(tmp_path: Path, command: str, runs: list[str]) -> None:
    assert names(tmp_path, *command.split())[1:] == runs


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("./prog a b", ["prog"]),
        ("cd /x; A=1 one | two && three || ! four", ["one", "two", "three", "four"]),
        ("if test -f x; then one; else two; fi", ["one", "two"]),
        ("echo 'one; two' > three", []),
        ("nice -n 5 one", ["nice", "one"]),
        ("$PROG x; `one`", ["one"]),
        ("diff <(one a) <(two b); x=$(three | four)", ["diff", "one", "two", "three", "four"]),
        ("find . -name x -exec one {} ';'", ["find", "one"]),
        ("env -S 'A=1 timeout 9 one'", ["env", "timeout", "one"]),
        ("tar xzf -", ["tar", "gzip"]),
        ("one 'open", []),
        ("for x in a b; do one $x; done", ["one"]),
    ],
)
def test_a_line_of_shell_is_looked_through(tmp_path: Path, line: str, runs: list[str]) -> None:
    assert names(tmp_path, "sh", "-c", line)[1:] == runs


def test_words_name_the_callers_files(tmp_path: Path) -> None:
    for name in ("data", "value", "home/mine"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    mine = str(tmp_path / "home/mine")
    command = ["prog", "data", "--in=value", "absent", mine, "home", "/etc/passwd", "/proc/cpuinfo"]
    found = words.meant(command, str(tmp_path), {"HOME": str(tmp_path / "home")})
    assert found.files == tuple(str(tmp_path / name) for name in ("data", "value", "home/mine"))
    assert found.yielding == ("/etc/passwd",)
    assert found.left == ("home",)


def test_a_file_that_is_too_large_is_left(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(words.FILE_BYTES_MAX + 1)
    found = words.meant(["prog", "large"], str(tmp_path), {})
    assert (found.files, found.left) == ((), ("large",))


def test_of_a_shell_line_of_the_caller_bare_names_are_the_nodes(tmp_path: Path) -> None:
    found = words.meant(["/bin/sh", "-c", "ls; ./prog"], str(tmp_path), {}, nodes_programs=True)
    assert [ran.name for ran in found.programs] == ["/bin/sh", f"{tmp_path}/prog"]


@pytest.mark.parametrize(
    ("command", "script"),
    [
        ("python3 -u -W ignore x.py a", ("x.py", "")),
        ("python3 -c code", ("", "code")),
        ("python3.11 -m http.server", ("", "import http.server")),
        ("perl -MPOSIX -e code", ("", "use POSIX;\ncode")),
        ("node -e code", ("", "code")),
        ("ruby -rjson x.rb", ("x.rb", "require 'json'")),
        ("Rscript x.R t.csv", ("x.R", "")),
    ],
)
def test_an_interpreters_script_is_known(command: str, script: tuple[str, str]) -> None:
    name, *rest = command.split()
    assert prefixes.script(rest, prefixes.interpreter(name)) == script


def test_a_variable_that_names_a_directory_is_not_named_as_left_behind(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "data").write_text("x")
    environ = {"XDG_CACHE_HOME": f"{tmp_path}/cache", "DATA": f"{tmp_path}/data", "GPROC_TOKEN": f"{tmp_path}/data2"}
    (tmp_path / "data2").write_text("x")
    found = words.meant(["/bin/true"], str(tmp_path), environ)
    assert (found.files, found.left) == ((f"{tmp_path}/data",), ())
