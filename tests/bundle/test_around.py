"""What lies around the caller's own programs and scripts: most of what a program opens by names that it makes up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.bundle.entries import BundleEntries
from gproc.disk.mounted import Mount
from gproc.errors import BundleError
from gproc.packager import read_chunk
from tests.bundle.conftest import Compile, Packs, made, sent


def test_a_program_that_makes_up_names_finds_what_lies_in_its_directory(packs: Packs, home: Path) -> None:
    """A script that read a file by a name from its input, or from a server, failed on every node."""
    project = home / "project"
    made(project, {"x.sh": 'cat "$1"', "one": "", "deep/er/two": ""})
    (project / "x.sh").chmod(0o755)
    assert sent(packs(project, "./x.sh"), project) == {"x.sh", "one", "deep/er/two"}
    assert sent(packs(project, "./x.sh", words=False, around=False), project) == {"x.sh"}


def test_the_working_directory_counts_if_a_program_of_the_callers_runs(packs: Packs, home: Path) -> None:
    made(home, {"tools/src/x.sh": "", "tools/share/t": "", "run/in": ""})
    run = home / "run"
    assert sent(packs(run, "sh", str(home / "tools/src/x.sh")), home) == {"tools/src/x.sh", "tools/share/t", "run/in"}
    assert sent(packs(run, "env", "sh", "../tools/src/x.sh"), home) == {"tools/src/x.sh", "tools/share/t", "run/in"}
    assert sent(packs(run, "cat", "/etc/hosts"), home) == set()
    assert sent(packs(run, "sh", "-c", "hostname"), home) == set()


def test_nothing_that_is_somebodys_all_lies_around_a_program(packs: Packs, home: Path) -> None:
    """A home, and what many programs share, is no program's own directory."""
    made(home, {"x.sh": "", "bin/y.sh": "", "bin/other": "", "letter": "", "Mail/inbox": ""})
    assert sent(packs(home, "sh", "x.sh"), home) == {"x.sh"}
    assert sent(packs(home, "sh", "bin/y.sh"), home) == {"bin/y.sh", "bin/other"}
    assert sent(packs(Path("/tmp"), "sh", str(home / "x.sh")), home) == {"x.sh"}


def test_a_large_directory_is_asked_for_by_name(packs: Packs, home: Path) -> None:
    made(home / "many", {"x.sh": "", **{f"d/{number}": "" for number in range(300)}})
    assert sent(packs(home / "many", "sh", "x.sh"), home) == {"many/x.sh"}
    made(home / "big", {"x.sh": "", "one": ""})
    with open(home / "big" / "image", "wb") as file:
        file.truncate((20 << 20) + 1)
    assert sent(packs(home / "big", "sh", "x.sh"), home) == {"big/x.sh"}


def test_what_fewer_people_may_read_than_the_program_stays_here(packs: Packs, home: Path) -> None:
    """Keys lie beside programs.  Whoever hides all of their files from others hides the program too."""
    project = home / "project"
    made(project, {"x.sh": "", "key.pem": "", "group": "", ".env": "", ".git/config": "", "open": ""})
    (project / "key.pem").chmod(0o600)
    (project / "group").chmod(0o640)
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh", "open"}
    (project / "x.sh").chmod(0o640)
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh", "open", "group"}
    (project / "x.sh").chmod(0o600)
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh", "open", "group", "key.pem"}


def test_links_out_of_the_directory_and_what_compilers_leave_stay_here(packs: Packs, home: Path) -> None:
    project = home / "project"
    made(project, {"x.sh": "", "m.o": "", "__pycache__/m.pyc": "", "a": "", "../secret/s": ""})
    (project / "out").symlink_to(home / "secret")
    (project / "s").symlink_to(home / "secret" / "s")
    (project / "b").symlink_to("a")
    bundle = packs(project, "sh", "x.sh")
    assert sent(bundle, home) == {"project/x.sh", "project/a"}
    assert os.fsencode(project / "b") in {entry.path for entry in bundle.manifest.entries}


def test_outside_the_working_directory_a_nodes_own_data_is_what_is_meant(packs: Packs, home: Path) -> None:
    """A file that a program writes there on a shared file system would be lost in a copy."""
    made(home, {"tool/x.sh": "", "tool/log": "", "tool/lib.sh": "", "run/in": ""})
    bundle = packs(home / "run", "sh", str(home / "tool/x.sh"))
    assert sent(bundle, home) == {"tool/x.sh", "tool/log", "tool/lib.sh", "run/in"}
    assert os.fsencode(home / "tool/log") in bundle.manifest.yielding
    assert not {os.fsencode(home / each) for each in ("tool/lib.sh", "run/in")} & set(bundle.manifest.yielding)


def test_a_program_and_a_plug_in_around_another_have_their_libraries(
    packs: Packs, compiled: Compile, home: Path, tmp_path: Path
) -> None:
    project = home / "project"
    compiled("home/u/project/lib/libf.so", "int f(void) { return 0; }")
    compiled("home/u/lib/libg.so", "int g(void) { return 0; }")
    near = (f"-L{project}/lib", "-lf", "-Wl,-rpath,$ORIGIN/lib", f"-L{home}/lib", "-lg", "-Wl,-rpath,$ORIGIN/../lib")
    compiled("home/u/project/helper", "int f(void); int g(void); int main(void) { return f() + g(); }", *near)
    made(project, {"x.sh": ""})
    assert sent(packs(project, "sh", "x.sh"), home) == {
        "project/x.sh", "project/helper", "project/lib/libf.so", "lib/libg.so",
    }  # fmt: skip


def test_what_cannot_be_linked_around_a_program_stops_it_not(packs: Packs, compiled: Compile, home: Path) -> None:
    """A program of NixOS in a project, or a plug-in whose library was being made, and no script there ran any more."""
    near = (f"-L{home}/lib", "-lf", f"-Wl,-rpath,{home}/lib")
    compiled("home/u/lib/libf.so", "int f(void) { return 0; }")
    compiled("home/u/project/good.so", "int f(void); int g(void) { return f(); }", *near)
    made(home / "project", {"x.sh": ""})
    assert sent(packs(home / "project", "sh", "x.sh"), home) == {"project/x.sh", "project/good.so", "lib/libf.so"}
    compiled("home/u/project/other", "int main(void) { return 0; }", "-Wl,--dynamic-linker=/nix/store/none/ld.so")
    compiled("home/u/bad/libh.so", "int h(void) { return 0; }")
    bad = (f"-L{home}/bad", "-lh", f"-Wl,-rpath,{home}/bad")
    compiled("home/u/project/bad.so", "int h(void); int i(void) { return h(); }", *bad)
    (home / "bad" / "libh.so").write_text("")
    names = {"project/x.sh", "project/good.so", "lib/libf.so", "project/other", "project/bad.so"}
    assert sent(packs(home / "project", "sh", "x.sh"), home) == names
    with pytest.raises(BundleError, match="its dynamic linker /nix/store/none/ld"):
        packs(home / "project", "sh", "x.sh", extra=("other",))


def test_a_program_of_another_system_that_a_text_names_stops_nothing(
    packs: Packs, compiled: Compile, home: Path
) -> None:
    """A package that brings programs for several systems, or a script that copies one, did not run at all."""
    compiled("home/u/project/other", "int main(void) { return 0; }", "-Wl,--dynamic-linker=/nix/store/none/ld.so")
    near = (f"-L{home}/bad", "-lh", f"-Wl,-rpath,{home}/bad")
    compiled("home/u/bad/libh.so", "int h(void) { return 0; }")
    compiled("home/u/project/lib/bad.so", "int h(void); int i(void) { return h(); }", *near)
    (home / "bad" / "libh.so").write_text("")
    made(home / "project", {"x.sh": "cp other there", "x.py": "import lib.m\nopen('other')", "lib/m.py": ""})
    for command in ("sh", "x.sh"), ("python3", "x.py"):
        assert "project/other" in sent(packs(home / "project", *command, around=False), home)


def test_settings_of_tools_go_along_and_what_may_hold_a_secret_stays(packs: Packs, home: Path) -> None:
    """clang-format, flake8 and R did not do there what they do here: their settings are hidden files of the project."""
    project = home / "project"
    settings = (".clang-format", ".flake8", ".Rprofile", ".eslintrc.json", "deep/.gitignore", ".rubocop.yml")
    made(project, {"x.sh": "", **dict.fromkeys(settings, "")})
    made(project, dict.fromkeys((".env", ".npmrc", ".Renviron", ".git/config", ".ssh/id", ".flake8.swp", ".x"), ""))
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh", *settings}
    made(home, {".gdbinit": "", ".Rprofile": ""})
    assert sent(packs(project, "sh", "x.sh"), home) == {f"project/{name}" for name in ("x.sh", *settings)}


def test_what_is_mounted_in_a_small_directory_is_not_looked_at(
    packs: Packs, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead NFS server below a project kept `gproc e ./. ./x.sh` for ever."""
    project = home / "project"
    made(project, {"x.sh": "", "near": "", "server/far": "", "deep/server/far": ""})
    dead = [project / "server", project / "deep" / "server"]
    points = [Mount(os.fsencode(path), 99, b"nfs4", b"rw") for path in dead]
    monkeypatch.setattr("gproc.bundle.image.mounts", lambda: iter(points))
    stat = os.lstat

    def lstat(path: str) -> os.stat_result:
        assert not any(str(path).startswith(str(each)) for each in dead), "this would wait for ever"
        return stat(path)

    monkeypatch.setattr("gproc.bundle.image.os.lstat", lstat)
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh", "near"}


def test_libraries_of_what_lies_around_are_small_together(packs: Packs, compiled: Compile, home: Path) -> None:
    """A small program beside a script, which it did not run, brought 200 MB of libraries."""
    near = (f"-L{home}/lib", "-lf", f"-Wl,-rpath,{home}/lib")
    compiled("home/u/lib/libf.so", "int f(void) { return 0; }")
    compiled("home/u/project/tool", "int f(void); int main(void) { return f(); }", *near)
    made(home / "project", {"x.sh": ""})
    os.truncate(home / "lib" / "libf.so", 51 << 20)
    assert sent(packs(home / "project", "sh", "x.sh"), home) == {"project/x.sh", "project/tool"}
    asked = packs(home / "project", "sh", "x.sh", extra=("tool",))
    assert sent(asked, home) == {"project/x.sh", "project/tool", "lib/libf.so"}


def test_an_interpreter_in_a_directory_of_the_callers_brings_no_more_than_its_library(packs: Packs, home: Path) -> None:
    made(home, {"tools/other": "", "run/x.sh": ""})
    shutil.copy("/bin/sh", home / "tools" / "sh")
    assert sent(packs(home / "run", "../tools/sh", "x.sh"), home) == {"tools/sh", "run/x.sh"}


@pytest.fixture
def before_reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """before_reading(act): do this when all files are known, before they are read."""

    def at(act: Callable[[], object]) -> None:
        entries = BundleEntries.entries

        def acting(self: BundleEntries) -> object:
            act()
            return entries(self)

        monkeypatch.setattr(BundleEntries, "entries", acting)

    return at


def test_a_file_that_goes_away_meanwhile_is_left_out(
    packs: Packs, home: Path, before_reading: Callable[[Callable[[], object]], None]
) -> None:
    """Other programs make and remove files around this one: nobody has asked for these."""
    project = home / "project"
    made(project, {"x.sh": "", "one": "", "two": ""})
    (project / "two").rename(project / "2")
    (project / "two").symlink_to("2")
    before_reading(lambda: (project / "2").unlink(missing_ok=True))
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh", "one"}
    with pytest.raises(BundleError, match="one: cannot be read: No such file"):
        before_reading((project / "one").unlink)
        packs(project, "sh", "x.sh", "one")


@pytest.mark.usefixtures("settled")
def test_a_log_that_is_being_written_goes_along_as_it_was(packs: Packs, home: Path) -> None:
    """A program that wrote its log beside the next one made this one fail: the log had changed when it was sent."""
    project = home / "project"
    made(project, {"x.sh": "", "log": "1\n"})
    bundle = packs(project, "sh", "x.sh")
    (file,) = (each for each in bundle.manifest.files() if each.path.endswith(b"/log"))
    (project / "log").write_text("2\n")
    ((digest, _, _),) = file.chunks()
    assert read_chunk(bundle, digest) == b"1\n"
    assert packs(project, "sh", "x.sh").digest != bundle.digest
    made(project, {"x.sh": "#"})
    bundle = packs(project, "sh", "x.sh", "log")
    assert not packs(project, "sh", "x.sh", "log").reasons, "the cache has an answer"
    (file,) = (each for each in bundle.manifest.files() if each.path.endswith(b"/log"))
    (project / "log").write_text("3\n")
    with pytest.raises(BundleError, match="log: changed while it was being sent"):
        read_chunk(bundle, next(iter(file.chunks()))[0])


def test_a_directory_that_the_command_names_goes_along(packs: Packs, home: Path) -> None:
    """`cppcheck src`, `git --git-dir=p.git log`, `env -C run ../solver`, `make -C sub` found nothing on a node."""
    project = home / "project"
    made(project, {"src/core/m.c": "", "conf.d/a": "", "in": "", ".git/config": "", "a.o": ""})
    for command in (("ls", "src"), ("ls", "--dir=src"), ("env", "-C", "src", "ls")):
        assert sent(packs(project, *command), project) == {"src/core/m.c"}, command
    assert sent(packs(project, "sh", "-c", "cd src && ls"), project) == {"src/core/m.c"}
    assert sent(packs(project, "ls", str(project / "src")), project) == set(), "a whole path may be the node's"
    assert sent(packs(project, "ls", "/usr"), project) == set()


def test_a_directory_that_is_named_in_the_home_goes_alone_and_a_hidden_one_not(packs: Packs, home: Path) -> None:
    made(home, {"runs/1": "", "letter": "", ".ssh/key": "", "elsewhere/x": ""})
    (home / "runs" / "link").symlink_to(home / "elsewhere")
    assert sent(packs(home, "ls", "runs"), home) == {"runs/1"}
    assert sent(packs(home, "ls", "runs/link"), home) == {"elsewhere/x"}
    hidden = packs(home, "ls", ".ssh")
    assert (sent(hidden, home), hidden.left) == (set(), (".ssh",))
    made(home, {f"large/{number}": "" for number in range(301)})
    assert packs(home, "ls", "large", "runs").left == ("large",)


def test_a_private_file_stays_here_if_a_directory_is_named_that_others_may_read(packs: Packs, home: Path) -> None:
    made(home, {"data/open": "", "data/key": ""})
    (home / "data" / "key").chmod(0o600)
    assert sent(packs(home, "ls", "data"), home) == {"data/open"}
    (home / "data").chmod(0o700)
    assert sent(packs(home, "ls", "data"), home) == {"data/open", "data/key"}


def test_a_text_of_the_command_that_names_a_file_here_opens_others(packs: Packs, home: Path) -> None:
    """`octave --eval "addpath(genpath('lib')); grab('field')"`, which reads field.txt."""
    project = home / "project"
    made(project, {"table": "", "field.txt": "", "plot.gp": "", "README.txt": ""})
    every = {"table", "field.txt", "plot.gp", "README.txt"}
    assert sent(packs(project, "sh", "-c", 'n=field; cat ./table "$n.txt"'), project) == every
    assert sent(packs(project, "cat", "plot.gp"), project) == every, "a script of a tool's own language"
    assert sent(packs(project, "python3", "-m", "doctest", "README.txt"), project) == every
    assert sent(packs(project, "python3", "-c", "print(1)"), project) == set()
    assert sent(packs(project, "cat", "README.txt"), project) == {"README.txt"}


def test_directories_for_output_are_there_though_they_are_empty(packs: Packs, home: Path) -> None:
    """A job that wrote to logs/, which nobody makes in a script because it is there, failed on every node."""
    project = home / "project"
    made(project, {"x.sh": "", "results/.gitkeep": "", "build/m.o": ""})
    (project / "logs" / "old").mkdir(parents=True)
    bundle = packs(project, "sh", "x.sh")
    found = {os.fsdecode(entry.path) for entry in bundle.manifest.entries}
    assert {str(project / each) for each in ("logs", "logs/old", "results", "build")} <= found
    assert sent(bundle, project) == {"x.sh"}


def test_libtools_directory_hides_no_secret(packs: Packs, home: Path) -> None:
    project = home / "project"
    made(project, {"prog": '#!/bin/sh\nd=.libs\nexec "./$d/prog"\n', ".libs/prog": "#!/bin/sh\n", ".libx/other": ""})
    (project / "prog").chmod(0o755)
    assert sent(packs(project, "./prog"), project) == {"prog", ".libs/prog"}


def test_env_starts_its_program_in_the_directory_that_it_is_told(packs: Packs, home: Path) -> None:
    """`env -C run ../x.sh` found no program: its name was looked up from the working directory."""
    made(home, {"p/run/in": "", "p/x.sh": "#!/bin/sh\n", "p/more": ""})
    (home / "p" / "x.sh").chmod(0o755)
    for option in (("-C", "run"), ("--chdir", "run"), ("--chdir=run",), ("-Crun",), ("-u", "X", "A=1", "-C", "run")):
        bundle = packs(home / "p", "env", *option, "../x.sh", "in")
        assert sent(bundle, home) == {"p/run/in", "p/x.sh", "p/more"}, option
    assert sent(packs(home / "p", "env", "ls", "-C", "none"), home) == set()


def test_a_program_that_reads_a_file_here_found_nothing_of_what_that_includes(packs: Packs, home: Path) -> None:
    """`ledger -f main.ledger` with `include y/*.dat`, `asciidoctor doc.adoc`, `erl -pa ebin` with ../priv."""
    project = home / "project"
    made(project, {"main.ledger": "include y/*.dat", "y/2025.dat": "", ".git/config": "", "key": ""})
    (project / "key").chmod(0o600)
    found = {"main.ledger", "y/2025.dat"}
    assert sent(packs(project, "bc", "main.ledger"), project) == found
    assert sent(packs(project, "sh", "-c", "bc main.ledger"), project) == found
    assert sent(packs(project, "bc", "-q"), project) == set()
    assert sent(packs(project, "sort", "main.ledger"), project) == {"main.ledger"}, "it opens what it is told"
    made(project, {f"runs/{number}": "" for number in range(100)})
    assert sent(packs(project, "bc", "main.ledger"), project) == {"main.ledger"}, "it may cost little"


def test_a_module_of_python_that_looks_around_here_found_nothing(packs: Packs, home: Path) -> None:
    """`python3 -m pytest` had no tests, `python3 -m flask --app site` no application."""
    project = home / "project"
    made(project, {"site/__init__.py": "", "tests/test_a.py": ""})
    for words in (("-m", "pytest"), ("-m", "flask", "--app", "site")):
        assert sent(packs(project, "python3", *words), project) == {"site/__init__.py", "tests/test_a.py"}
