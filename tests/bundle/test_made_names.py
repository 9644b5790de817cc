"""Names that texts and programs make up, and where they say to look: each a usage that failed on a bare node."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.bundle import locale_files
from gproc.bundle.command import search_paths, told, words
from gproc.bundle.image import Image
from gproc.bundle.languages import java
from gproc.bundle.memo import Memo
from gproc.bundle.texts.executed import commands_in, commands_of_rules
from gproc.bundle.texts.named import names_in, relative
from gproc.bundle.texts.patterns import matching
from gproc.packager import Bundle
from tests.bundle.conftest import made, sent

Pack = Callable[..., Bundle]
Compile = Callable[..., Path]


@pytest.mark.parametrize(
    ("text", "language", "pattern"),
    [
        ('open(f"data/day_{i}.csv")', "python", "data/day_*.csv"),
        ('open("d/a%03d.txt" % i)', "python", "d/a*.txt"),
        ('open("d/b-{}.txt".format(i))', "python", "d/b-*.txt"),
        ('open("d/c" + str(i) + ".x")', "python", "d/c*.x"),
        ('paste0("data/", i, ".txt")', "R", "data/*.txt"),
        ("readFileSync(`d/${n}.json`)", "node", "d/*.json"),
        ('open my $h, "<", "log/$n.log"', "perl", "log/*.log"),
        ('File.read("in/#{x}.yml")', "ruby", "in/*.yml"),
        ("awk -f p.awk in/run_$i.dat\n", "sh", "in/run_*.dat"),
        ('. "$(dirname "$0")/conf/$1.env"', "sh", "conf/*.env"),
    ],
)
def test_a_name_with_a_value_in_it_is_a_pattern(text: str, language: str, pattern: str) -> None:
    assert pattern in {relative(name, language) for name in names_in(text.encode(), language)}


@pytest.mark.parametrize("text", ['"%s: %d"', '"%d.%d"', 'f"{a}/{b}"', 'f"{x:.2f}"', '"50% of {n} done."', '"{}"'])
def test_a_sentence_or_values_alone_are_no_pattern(text: str) -> None:
    assert not [name for name in names_in(text.encode(), "python") if "*" in name]


def test_a_pattern_goes_through_directories_and_leaves_what_is_hidden(tmp_path: Path) -> None:
    for name in ("a/x/1.csv", "a/y/2.csv", "a/.z/3.csv", "a/y/n.txt", "a/4.csv"):
        made(tmp_path, {name: ""})
    image = Image("/", Memo(str(tmp_path / "memo")))

    def found(pattern: str) -> list[str]:
        return sorted(os.path.relpath(path, tmp_path) for path, _ in matching(image, f"{tmp_path}/{pattern}", ()))

    assert found("a/*/*.csv") == ["a/x/1.csv", "a/y/2.csv"]
    assert found("a/**/*.csv") == ["a/4.csv", "a/x/1.csv", "a/y/2.csv"]
    assert [*matching(image, f"{tmp_path}/*", (str(tmp_path),))] == []


def test_a_text_that_lists_a_directory_brings_its_files(packed: Pack, tmp_path: Path) -> None:
    """`os.listdir("data")` found nothing, and `find src` in a line of shell."""
    made(tmp_path, {"x.py": 'for n in os.listdir("data"): print(n)\n', "data/a": "", "data/deep/b": "", "data/.c": ""})
    bundle = packed("sh", command=("sh", "-c", "find data -type f"), cwd=str(tmp_path))
    assert sent(bundle, tmp_path) == {"data/a", "data/deep/b"}
    if shutil.which("python3", path="/usr/bin"):
        bundle = packed("/usr/bin/python3", command=("/usr/bin/python3", "x.py"), cwd=str(tmp_path))
        assert sent(bundle, tmp_path) == {"x.py", "data/a", "data/deep/b"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('export LD_LIBRARY_PATH="${HERE}/lib:${LD_LIBRARY_PATH:-}"', [("LD_LIBRARY_PATH", "/b/lib")]),
        ('PATH="$(cd "$(dirname "$0")" && pwd)/tools:$PATH"', [("PATH", "/b/tools")]),
        ("PYTHONPATH=$ROOT/src:vendor:$PYTHONPATH", [("PYTHONPATH", "/b/src"), ("PYTHONPATH", "/b/vendor")]),
        ("LD_LIBRARY_PATH=$PWD/lib ./m", [("LD_LIBRARY_PATH", "/b/lib")]),
        ("PERL5LIB=$(dirname $0)/../perl", [("PERL5LIB", "/b/../perl")]),
        ("source venv/bin/activate\n", [("PATH", "/b/venv/bin")]),
        ('. "$HERE/env/bin/activate"\n', [("PATH", "/b/env/bin")]),
        ("LD_LIBRARY_PATH=/opt/x/lib", [("LD_LIBRARY_PATH", "/opt/x/lib")]),
        ("MY_PATH=x PATHS=y", []),
    ],
)
def test_a_script_says_where_it_looks(text: str, found: list[tuple[str, str]]) -> None:
    assert [(name, at) for name, written in told.in_text(text) for at in told.places(written, ["/b"])] == found


def test_a_library_is_found_where_a_script_or_a_word_says(packed: Pack, compiled: Compile, tmp_path: Path) -> None:
    """`env LD_LIBRARY_PATH=lib ./m` was refused, and a launcher's program did not find its library."""
    compiled("lib/libf.so", "int f(void) { return 4; }")
    compiled("bin/m", "int f(void); int main(void) { return f(); }", f"-L{tmp_path}/lib", "-lf")
    launcher = '#!/bin/sh\nHERE=$(dirname "$0")\nexport LD_LIBRARY_PATH="$HERE/lib"\nexec "$HERE/bin/m"\n'
    made(tmp_path, {"run.sh": launcher})
    (tmp_path / "run.sh").chmod(0o755)
    assert sent(packed("./run.sh"), tmp_path) == {"run.sh", "bin/m", "lib/libf.so"}
    for command in (("env", "LD_LIBRARY_PATH=lib", "bin/m"), ("sh", "-c", "LD_LIBRARY_PATH=$PWD/lib bin/m")):
        assert sent(packed(command[0], command=command), tmp_path) == {"bin/m", "lib/libf.so"}


def test_a_program_is_found_on_the_path_that_a_script_sets(packed: Pack, compiled: Compile, tmp_path: Path) -> None:
    compiled("tools/mine", "int main(void) { return 0; }")
    made(tmp_path, {"go": 'PATH="$(cd "$(dirname "$0")" && pwd)/tools:$PATH"\nmine\n'})
    assert sent(packed("sh", command=("sh", "go")), tmp_path) == {"go", "tools/mine"}


def test_an_activated_environment_is_the_one_whose_python_runs(packed: Pack, tmp_path: Path) -> None:
    """A batch script that activates its environment: "python: command not found", with status 0."""
    if not shutil.which("python3", path="/usr/bin"):
        pytest.skip("needs Debian's python3")
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", "venv"], cwd=tmp_path, check=True)
    site = next((tmp_path / "venv/lib").glob("python3*/site-packages"))
    (site / "zmod.py").write_text("z = 5\n")
    made(tmp_path, {"job.sh": "source venv/bin/activate\npython train.py --epochs 2\n", "train.py": "import zmod\n"})
    bundle = packed("bash", command=("bash", "job.sh"))
    assert {"train.py", str((site / "zmod.py").relative_to(tmp_path)), "venv/bin/activate"} <= sent(bundle, tmp_path)


def test_one_command_with_another_directory_of_modules_is_packed_anew(packed: Pack, tmp_path: Path) -> None:
    """`perl x.pl` and then `perl -Ilib x.pl`: the cache had an answer to the first, without lib."""
    made(tmp_path, {"x.pl": "use M;\n", "other/M.pm": "package M; 1;\n"})
    assert "other/M.pm" not in sent(packed("perl", command=("perl", "x.pl")), tmp_path)
    assert "other/M.pm" in sent(packed("perl", command=("perl", "-Iother", "x.pl")), tmp_path)


def test_a_compiled_program_makes_names_lists_directories_and_runs_programs(
    packed: Pack, compiled: Compile, tmp_path: Path
) -> None:
    made(tmp_path, {"data/p01.dat": "", "data/q.txt": "", "plug/a": "", "in.z": "", "share/s.conf": "", "h.py": ""})
    compiled("bin/m", (
        '#include <dirent.h>\n#include <stdio.h>\n#include <stdlib.h>\nint main(void) { char b[99]; '
        'snprintf(b, 99, "data/p%02d.dat", 1); puts(b); snprintf(b, 99, "%s/../share/s.conf", "x"); puts(b); '
        'return system("cksum -- in.z") || system("sort of") || opendir("plug") == 0; }\n'
    ))  # fmt: skip
    bundle = packed("bin/m")
    assert sent(bundle, tmp_path) == {"bin/m", "data/p01.dat", "plug/a", "in.z", "share/s.conf"}
    names = {os.path.basename(os.fsdecode(file.path)) for file in bundle.manifest.files()}
    assert "cksum" in names
    assert "sort" not in names


def test_a_program_of_fortran_brings_the_files_whose_names_stand_in_it(packed: Pack, tmp_path: Path) -> None:
    """Its strings end where the next one begins: "input.nml" is no word of the file."""
    if shutil.which("gfortran") is None:
        pytest.skip("needs gfortran")
    made(tmp_path, {"input.nml": "", "forcing.dat": "", "other.dat": "", "tab/x1": "", "s.f90": (
        "open(10, file='input.nml', status='old')\nopen(11, file='forcing.dat')\nwrite(*,*) 'tab/'\nend\n"
    )})  # fmt: skip
    subprocess.run(["gfortran", "-o", "s", "s.f90"], cwd=tmp_path, check=True)
    found = sent(packed("./s"), tmp_path)
    assert {"s", "input.nml", "forcing.dat"} <= found
    assert "other.dat" not in found


def test_a_program_that_looks_for_its_own_path_must_be_at_it(packed: Pack, compiled: Compile, tmp_path: Path) -> None:
    """A plain node ran it, and it read the loader's path: now that node refuses it with the reason."""
    looks = '#include <unistd.h>\nint main(void) { char b[9]; return readlink("/proc/self/exe", b, 9) < 0; }'
    own = compiled("m", looks)
    other = compiled("n", "int main(void) { return 0; }")
    assert os.fsencode(own) in packed("./m").manifest.fixed
    assert os.fsencode(other) not in packed("./n").manifest.fixed


def test_what_words_name_by_its_whole_path_must_be_at_it(packed: Pack, tmp_path: Path) -> None:
    made(tmp_path, {"d.txt": "", "e.txt": ""})
    bundle = packed("cat", command=("cat", f"{tmp_path}/d.txt", "e.txt"))
    assert os.fsencode(tmp_path / "d.txt") in bundle.manifest.fixed
    assert os.fsencode(tmp_path / "e.txt") not in bundle.manifest.fixed


@pytest.mark.parametrize(
    ("words_of_tool", "found"),
    [
        ("gcc x.c -Iinclude -L lib", ["include", "lib"]),
        ("mpicc.mpich -O2 -Ih x.c", ["h"]),
        ("jq -L m .", ["m"]),
        ("java -Djava.library.path=native N", ["native"]),
        ("ls -I x", []),
    ],
)
def test_a_tool_is_told_where_to_look(words_of_tool: str, found: list[str]) -> None:
    name, *rest = words_of_tool.split()
    assert [*search_paths.of_tools(rest, name)] == found


def test_options_and_words_with_blanks_name_files(tmp_path: Path) -> None:
    made(tmp_path, {"include/b.h": "", "m.c": "", "load.sql": "", "Rakefile": "", "home/x": ""})
    environ = {"HOME": str(tmp_path / "home")}

    def files(*command: str) -> set[str]:
        return {os.path.relpath(path, tmp_path) for path in words.meant(command, str(tmp_path), environ).files}

    assert files("gcc", "-Iinclude", "m.c") == {"include/b.h", "m.c"}
    assert files("sqlite3", ":memory:", ".read load.sql") == {"load.sql"}
    assert files("rake") == {"Rakefile"}
    made(tmp_path, {"fr/f01.png": "", "fr/f02.png": "", "fr/fx.png": "", "el/mine.el": ""})
    assert files("ffmpeg", "-i", "fr/f%02d.png") == {"fr/f01.png", "fr/f02.png"}
    assert files("emacs", "-L", "el", "-l", "mine") == {"el/mine.el"}
    assert files("echo", "-Iinclude") == set()


@pytest.mark.parametrize(
    ("text", "language", "name"),
    [
        ("(use-modules (my m))", "guile", "my/m.scm"),
        (":- [facts, lib/more].", "prolog", "facts"),
        (":- consult(facts).", "prolog", "facts"),
        ("build o.txt: up i.txt\n", "ninja", "i.txt"),
        ('connect("file:d.sqlite?mode=ro")', "python", "d.sqlite"),
        ('run("curl", "--data-binary", "@b.txt", "--in=c.csv")', "python", "b.txt"),
        ("my $n = `jq . $d/conf.json`;", "perl", "conf.json"),
    ],
)
def test_a_language_names_without_quotes(text: str, language: str, name: str) -> None:
    assert name in names_in(text.encode(), language)


def test_ninja_runs_what_its_rules_say() -> None:
    assert commands_of_rules("rule up\n  command = tr a b < $in\n  depfile = x\n") == "tr a b < $in"


def test_the_files_of_a_locale_may_be_links_and_a_text_may_name_one(tmp_path: Path) -> None:
    """Debian's locales-all has what locales have in common as links: of de_DE only half went along."""
    place = tmp_path / "usr/lib/locale"
    made(place, {"aa/LC_COLLATE": "", "de_DE.utf8/LC_TIME": "", "de_DE.utf8/LC_MESSAGES/SYS_LC_MESSAGES": ""})
    (place / "de_DE.utf8/LC_COLLATE").symlink_to("../aa/LC_COLLATE")
    image = Image(str(tmp_path), Memo(str(tmp_path / "memo")))
    found = locale_files.files_of(image, ["de_DE.UTF-8"])
    assert {os.path.relpath(path, "/usr/lib/locale/de_DE.utf8") for path in found} == {
        "LC_TIME", "LC_COLLATE", "LC_MESSAGES/SYS_LC_MESSAGES",
    }  # fmt: skip
    assert locale_files.named_in(b'\0fr_FR.UTF-8\0 "de_DE" x_de_DEx a_B') == ["de_DE", "fr_FR.UTF-8"]


def test_what_is_opened_in_a_directory_that_a_text_names_goes_along(packed: Pack, tmp_path: Path) -> None:
    """`os.path.join(CONFIG_DIR, name + ".json")`, and in C++ `dir + "/k" + std::to_string(i)`: no rule finds that."""
    text = 'my $dir = "configs"; open F, $dir . "/" . $ARGV[0];\n'
    made(tmp_path, {"x.pl": text, "configs/a.json": "", "other/b": ""})
    assert sent(packed("perl", command=("perl", "x.pl", "a.json")), tmp_path) == {"x.pl", "configs/a.json"}
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    assert sent(packed("perl", environ, command=("perl", "x.pl", "a.json")), tmp_path) == {"x.pl"}
    os.truncate(tmp_path / "configs/a.json", 21 << 20)
    assert sent(packed("perl", command=("perl", "x.pl", "a.json")), tmp_path) == {"x.pl"}


def test_a_directory_that_a_variable_names_goes_along(packed: Pack, tmp_path: Path) -> None:
    made(tmp_path, {"db/table.txt": "", "user/x": "", "prog": "#!/bin/sh\n"})
    (tmp_path / "prog").chmod(0o755)
    environ = {"PATH": "/usr/bin:/bin", "MY_DATA": "db", "USER": "user"}
    assert sent(packed("./prog", environ, command=("./prog",)), tmp_path) == {"prog", "db/table.txt"}


def test_a_file_that_a_program_names_is_read_for_what_it_names(
    packed: Pack, compiled: Compile, tmp_path: Path
) -> None:
    made(tmp_path, {"case.cfg": "mesh mesh/a.msh\n", "mesh/a.msh": "", "work/step.sh": "", "none/x": ""})
    compiled("m", '#include <stdio.h>\nint main(void) { puts("case.cfg"); puts("work"); return 0; }')
    assert sent(packed("./m"), tmp_path) == {"m", "case.cfg", "mesh/a.msh", "work/step.sh"}


def test_the_strings_of_javas_classes_name_files(tmp_path: Path) -> None:
    name = tmp_path / "A.class"
    name.write_bytes(b"\xca\xfe\xba\xbe\0\0\x01\0\x04conf\x01\0\x0eapp.properties\x01\0\x05a b c")
    found = java.strings_of(Image("/", Memo(str(tmp_path / "memo"))), str(name))
    assert found == b'"conf"\n"app.properties"'
    assert "conf/app.properties" in names_in(found, "java")


def test_a_loops_values_are_programs_and_what_type_asks_for_is_one() -> None:
    text = 'for py in python9 python3; do\n  if command -v "$py" >&2; then exec "$py" x.py; fi\ndone\ntype jq bc\n'
    assert {words[0] for words in commands_in(text)} >= {"python9", "python3", "jq", "bc"}
    assert ["python3", "x.py"] in commands_in(text)


def test_a_setting_names_a_module_and_a_pattern_its_directory(packed: Pack, tmp_path: Path) -> None:
    """`{"plugin": "plugins.alpha"}`; and a Makefile's `t/*.sh`, for each of which there is t/X.expected."""
    if not shutil.which("python3", path="/usr/bin"):
        pytest.skip("needs Debian's python3")
    files = {"a.py": 'load(open("c.json"))\n', "c.json": '{"p": "plugins.alpha"}', "plugins/alpha.py": "", "b.py": ""}
    made(tmp_path, {**files, "t/a.sh": "", "t/a.expected": ""})
    bundle = packed("/usr/bin/python3", command=("/usr/bin/python3", "a.py"))
    assert sent(bundle, tmp_path) == {"a.py", "c.json", "plugins/alpha.py"}
    bundle = packed("sh", command=("sh", "-c", "for s in t/*.sh; do cmp $s ${s%.sh}.expected; done"))
    assert sent(bundle, tmp_path) == {"t/a.sh", "t/a.expected"}
