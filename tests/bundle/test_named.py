"""What texts, variables and compiled programs name goes along: each a usage that failed on a bare node."""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.bundle import zones
from gproc.bundle.command.prefixes import makefiles, script
from gproc.bundle.texts.executed import COMMANDS_MAX, calls_in, commands_in, recipes_in
from gproc.bundle.texts.named import names_in, relative
from gproc.packager import Bundle, PackRequest, pack
from tests.bundle.conftest import made, sent

Pack = Callable[..., Bundle]


@pytest.mark.parametrize(
    ("text", "language", "name"),
    [
        ('open(os.path.join(root, "data", "in.csv"))', "python", "data/in.csv"),
        ('(Path(__file__).parent / "data" / "in.csv")', "python", "data/in.csv"),
        ('files("pkg").joinpath("d.txt")', "python", "pkg/d.txt"),
        ("source(file.path('R', 'g.R'))", "R", "R/g.R"),
        ("read_data data.lj\n", "", "data.lj"),
        ("inputs:\n  - sub/b.txt\n", "", "sub/b.txt"),
        ("for f in in/*.txt; do", "sh", "in/*.txt"),
        ("\tcc -c $(SRC)/a.c\n", "make", "a.c"),
    ],
)
def test_a_text_names(text: str, language: str, name: str) -> None:
    assert name in names_in(text.encode(), language)


@pytest.mark.parametrize("head", ["./", "$ROOT/", "${root}/", "{root}/", "#{root}/", "$(dirname $0)/", "/"])
def test_a_name_may_begin_with_where_it_is(head: str) -> None:
    assert relative(f"{head}etc/conf", "sh") == "etc/conf"


def test_numbers_and_words_are_no_names() -> None:
    assert names_in(b"1.5 2.25e3 hello ... 10/3\n", "") == []


@pytest.mark.parametrize(
    ("text", "language", "run"),
    [
        ('subprocess.run(["jq", "-n", "4"])', "python", ["jq", "-n", "4"]),
        ('os.system("jq -n 4 | bc")', "python", ["bc"]),
        ('open(my $f, "-|", "jq -n 6")', "perl", ["jq", "-n", "6"]),
        ("print qx(echo 1 | jq -n 7)", "perl", ["jq", "-n", "7"]),
        ("print `jq -n 7`", "perl", ["jq", "-n", "7"]),
        ("puts %x(jq -n 6)", "ruby", ["jq", "-n", "6"]),
        ('execSync("jq -n 4")', "node", ["jq", "-n", "4"]),
        ('io.popen("jq -n 4")', "lua", ["jq", "-n", "4"]),
        ("puts [exec jq -n 4]", "tcl", ["jq", "-n", "4"]),
        ('{ "jq -n 4" | getline x }', "awk", ["jq", "-n", "4"]),
        ('system2("jq", c("-n"))', "R", ["jq"]),
        ("echo shell_exec('jq -n 4');", "php", ["jq", "-n", "4"]),
    ],
)
def test_calls_run_programs(text: str, language: str, run: list[str]) -> None:
    assert run in calls_in(text, language)


def test_a_makefile_runs_what_its_recipes_say() -> None:
    text = "CC := tcc\nTOOL = $(BIN)/x\nBIN = ./b\nall: a\n\t@$(CC) -c a.c && \\\n\t  jq .\n\t-$(TOOL) $$HOME\n"
    assert [words[0] for words in commands_in(recipes_in(text))] == ["tcc", "jq", "./b/x"]
    assert makefiles(["-s", "-C", "sub", "all"]) == ["sub/GNUmakefile", "sub/makefile", "sub/Makefile"]
    assert makefiles(["--file=b.mk"]) == ["b.mk"]


def test_make_alone_brings_its_makefile_and_what_that_names_and_runs(packed: Pack, tmp_path: Path) -> None:
    text = "include r.mk\nall: a.txt\n\t@expr 1 + 1\n"
    made(tmp_path, {"Makefile": text, "r.mk": "X = 1\n", "a.txt": "", "b.txt": ""})
    make = tmp_path / "bin/make"
    make.parent.mkdir()
    make.write_bytes(Path("/bin/true").read_bytes())
    make.chmod(0o755)
    bundle = packed(str(make), command=(str(make),), cwd=str(tmp_path))
    assert sent(bundle, tmp_path) == {"bin/make", "Makefile", "r.mk", "a.txt"}
    assert any(file.path.endswith(b"/expr") for file in bundle.manifest.files())


@pytest.mark.parametrize(
    ("words", "language", "found"),
    [
        ("-v a=1 -f x.awk in", "awk", ("x.awk", "")),
        ("-F : {print}", "awk", ("", "{print}")),
        ("-cp a.jar -jar m.jar", "java", ("m.jar", "")),
        ("-m unittest tests.a -v", "python", ("", "import unittest\nimport tests.a")),
    ],
)
def test_an_interpreter_runs(words: str, language: str, found: tuple[str, str]) -> None:
    assert script(words.split(), language) == found


def test_zones_are_found_in_texts() -> None:
    assert zones.named_in(b"ZoneInfo('Europe/Paris') 'a/b' \"America/Argentina/Salta\"") == [
        "/usr/share/zoneinfo/America/Argentina/Salta", "/usr/share/zoneinfo/Europe/Paris",
    ]  # fmt: skip


def test_a_script_brings_what_it_names_in_each_way(packed: Pack, tmp_path: Path) -> None:
    place, home = tmp_path / "work", tmp_path
    made(
        place,
        {
            "bin/x.sh": f'cd ..\ncat "$R/etc/a.conf" {home}/ref/g.fa ~/ref/h.fa ~/.ssh/key\nls in/*.txt\n',
            "etc/a.conf": "data = d.csv\n", "d.csv": "1\n", "in/1.txt": "", "in/2.txt": "", "in/3.csv": "", "other": "",
        },
    )  # fmt: skip
    made(home, {"ref/g.fa": "", "ref/h.fa": "", ".ssh/key": "secret"})
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    bundle = packed("sh", environ, command=("sh", "bin/x.sh"), cwd=str(place))
    assert sent(bundle, home) == {
        "work/bin/x.sh", "work/etc/a.conf", "work/d.csv", "work/in/1.txt", "work/in/2.txt", "ref/g.fa", "ref/h.fa",
    }  # fmt: skip


def test_what_is_named_by_its_whole_path_alone_gives_way_to_the_nodes_own(packed: Pack, tmp_path: Path) -> None:
    """A script that appends to a file of the home wrote into a private copy, and the lines were lost."""
    text = f"LOG={tmp_path}/log\necho x >> $LOG\ncat {tmp_path}/work/in {tmp_path}/word\ncat in\n"
    made(tmp_path, {"work/x.sh": text, "log": "", "work/in": "", "word": ""})
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = ("sh", "x.sh", str(tmp_path / "word"))
    bundle = packed("sh", environ, command=command, cwd=str(tmp_path / "work"))
    assert sent(bundle, tmp_path) == {"work/x.sh", "log", "work/in", "word"}
    assert [path for path in bundle.manifest.yielding if b"/usr" not in path] == [os.fsencode(tmp_path / "log")]


def test_code_and_what_is_a_part_of_another_program_do_not_give_way(packed: Pack, tmp_path: Path) -> None:
    """A node had some modules of an older version: the script ran with them and with the new ones that it lacked."""
    modules = f"import sys\nsys.path.insert(0, '{tmp_path}/lib')\nimport a\nopen('{tmp_path}/data')\n"
    made(
        tmp_path,
        {
            "work/x.sh": f"python3 x.py; python3 y.py; ./tool; cat {tmp_path}/work/part {tmp_path}/work/tool\n",
            "work/x.py": modules, "work/y.py": 'open("part")', "work/part": "", "lib/a.py": "", "lib/b.py": "",
            "data": "", "work/tool": "#!/bin/sh\n",
        },
    )  # fmt: skip
    (tmp_path / "work/tool").chmod(0o755)
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    bundle = packed("sh", environ, command=("sh", "x.sh"), cwd=str(tmp_path / "work"))
    assert {"lib/a.py", "lib/b.py", "work/part", "work/tool", "data"} < sent(bundle, tmp_path)
    yielding = {path for path in bundle.manifest.yielding if path.startswith(bytes(tmp_path))}
    assert yielding == {os.fsencode(tmp_path / "data")}


def test_a_makefile_brings_those_of_the_directories_that_it_calls_make_in(packed: Pack, tmp_path: Path) -> None:
    """`$(MAKE) -C sub`: "make[1]: *** sub: No such file or directory"."""
    recipes = "all:\n\t$(MAKE) -s -C sub all W=1\n\tmake -f more.mk\n"
    made(tmp_path, {"Makefile": recipes, "sub/Makefile": "all:\n\tcat t\n", "sub/t": "", "more.mk": "", "sub/u": ""})
    make = tmp_path / "bin/make"
    make.parent.mkdir()
    make.write_bytes(Path("/bin/true").read_bytes())
    make.chmod(0o755)
    environ = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    bundle = packed("make", environ, command=("make",), cwd=str(tmp_path))
    assert sent(bundle, tmp_path) == {"bin/make", "Makefile", "sub/Makefile", "sub/t", "sub/u", "more.mk"}


@pytest.mark.parametrize(
    "unit",
    ["cat <<E\n", "a <<'E'\nE\n", pytest.param("run" + 60_000 * " ", id="blanks"), "a=b\n", "{ ", 76 * "A" + "\n"],
)
def test_a_text_that_never_ends_what_it_begins_is_read_once(unit: str) -> None:
    """A megabyte of here-documents without an end, or of blanks behind `run`, took minutes."""
    text = unit * (240_000 // len(unit))
    assert len(commands_in(text)) <= COMMANDS_MAX
    assert calls_in(text, "python") == []


def test_words_and_variables_bring_files_in_each_way(packed: Pack, tmp_path: Path) -> None:
    wanted = {"a", "b", "c.txt", "d", "r.fa", "r.fa.bwt", "idx.1", "e"}
    made(tmp_path, dict.fromkeys((*wanted, "unnamed", "home/.h/k"), ""))
    words = ("cat", "a,b", f"file://{tmp_path}/c.txt", "-od", "r.fa", "idx")
    home = tmp_path / "home"
    environ = {"PATH": "/usr/bin:/bin", "E": f"{tmp_path}/e", "SECRET": f"{home}/.h/k", "HOME": str(home)}
    assert sent(packed("cat", environ, command=words, cwd=str(tmp_path)), tmp_path) == wanted
    assert sent(packed("cat", environ, command=words, cwd=str(home)), home) == set()


def test_a_list_brings_what_it_lists(packed: Pack, tmp_path: Path) -> None:
    made(tmp_path, {"list": "one.txt\nsub/two.txt\n", "one.txt": "", "sub/two.txt": "", "three.txt": ""})
    bundle = packed("xargs", command=("xargs", "-a", "list", "cat"), cwd=str(tmp_path))
    assert sent(bundle, tmp_path) == {"list", "one.txt", "sub/two.txt"}


def test_a_file_that_a_script_named_before_it_was_there_goes_along(tmp_path: Path) -> None:
    """The cache's answer of the first, failed, run held: the file was never sent."""
    work = tmp_path / "work"
    made(work, {"x.sh": "cat in.csv\n"})
    for path in (work / "x.sh", work):
        os.utime(path, (1, 1))
    request = PackRequest(
        "sh", str(work), {"PATH": "/usr/bin:/bin"}, command=("sh", "x.sh"), cache_dir=str(tmp_path / "cache" / "b")
    )
    assert sent(pack(request), work) == {"x.sh"}
    made(work, {"in.csv": "1\n"})
    assert sent(pack(request), work) == {"x.sh", "in.csv"}


@pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="needs the distribution's Python")
def test_python_brings_what_its_own_modules_name_and_its_other_scripts_import(packed: Pack, tmp_path: Path) -> None:
    made(
        tmp_path,
        {
            "x.py": 'import m\nfrom ns import two\nsubprocess.run([sys.executable, "worker.py"])\n',
            "m.py": 'open("table.txt")\n', "table.txt": "", "worker.py": "import lib.n\n", "lib/n.py": "",
            "a/ns/one.py": "", "b/ns/two.py": "", "unused.py": "",
        },
    )  # fmt: skip
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "a:b"}
    bundle = packed("/usr/bin/python3", environ, command=("/usr/bin/python3", "x.py"), cwd=str(tmp_path))
    assert sent(bundle, tmp_path) == {
        "x.py", "m.py", "table.txt", "worker.py", "lib/n.py", "a/ns/one.py", "b/ns/two.py",
    }  # fmt: skip


def test_a_compiled_program_brings_the_files_and_libraries_that_it_names(packed: Pack, tmp_path: Path) -> None:
    made(tmp_path, {"in.nml": "", "f.c": "int f(void) { return 7; }\n", "m.c": (
        '#include <dlfcn.h>\n#include <stdio.h>\nint main(void) { puts("in.nml"); puts("plug/f.so"); '
        'return dlopen("libz.so.1", 1) == 0 || dlopen("libcuda.so.1", 1) == 0; }\n'
    )})  # fmt: skip
    (tmp_path / "plug").mkdir()
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "plug/f.so", "f.c"], cwd=tmp_path, check=True)
    subprocess.run(["gcc", "-o", "m", "m.c", "-ldl"], cwd=tmp_path, check=True)
    bundle = packed(str(tmp_path / "m"), cwd=str(tmp_path))
    assert sent(bundle, tmp_path) == {"m", "in.nml", "plug/f.so"}
    names = {os.path.basename(os.fsdecode(entry.path)) for entry in bundle.manifest.entries}
    assert "libcuda.so.1" not in names
    assert "libz.so.1" in names or not os.path.exists("/lib/x86_64-linux-gnu/libz.so.1")


def test_a_jar_brings_those_of_its_class_path(packed: Pack, tmp_path: Path) -> None:
    for name, path in (("m.jar", "lib/l.jar  gone.jar"), ("lib/l.jar", "../deep.jar"), ("deep.jar", "m.jar")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\r\nClass-Path: {path}\r\n")
    java = tmp_path / "java"
    java.write_bytes(Path("/bin/true").read_bytes())
    java.chmod(0o755)
    bundle = packed("./java", command=("./java", "-jar", "m.jar"), cwd=str(tmp_path))
    assert {"m.jar", "lib/l.jar", "deep.jar"} <= sent(bundle, tmp_path)


@pytest.mark.parametrize("text", [b"echo x >>/home/me/runs; cat in", b"x 2> /home/me/runs", b'x >|"/home/me/runs"'])
def test_a_file_that_a_shell_writes_to_is_the_nodes(text: bytes) -> None:
    assert not [name for name in names_in(text, "sh") if "runs" in name]


@pytest.mark.parametrize("text", [b"open('/home/me/runs', 'a')", b'open("/home/me/runs", mode="wb")'])
def test_a_file_that_a_script_opens_to_write_is_the_nodes(text: bytes) -> None:
    assert names_in(text, "python") == []
    assert names_in(text.replace(b"'a'", b"'r'").replace(b"wb", b"rb"), "python") != []


def test_what_a_command_is_given_beside_a_letter_goes_along() -> None:
    """`"worker.py", "a"` in the words of a command is no file that is opened to append."""
    text = b'subprocess.run([sys.executable, "worker.py", "a"]); join("data", "x")'
    assert {"worker.py", "data"} <= set(names_in(text, "python"))
