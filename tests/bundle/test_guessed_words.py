"""What guesses took that nobody meant, each named by what hurt: secrets, parts of directories, programs of prose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gproc.bundle.command import words
from gproc.bundle.texts.executed import calls_in, commands_in
from gproc.bundle.texts.named import names_in
from gproc.packager import Bundle
from tests.bundle.conftest import made, sent

Pack = Callable[..., Bundle]
Compile = Callable[..., Path]


def meant(place: Path, command: str, **environ: str) -> tuple[set[str], set[str]]:
    """The files that a command brings, and what it is said to leave, in the working directory home/work."""
    home = place / "home"
    found = words.meant(command.split(" "), str(home / "work"), {"HOME": str(home), **environ})
    files = {os.path.relpath(path, home / "work") for path in (*found.files, *found.yielding)}
    return files, {os.path.relpath(home / "work" / each, home / "work") for each in found.left}


@pytest.fixture
def others_place() -> Iterator[Path]:
    """A directory that a user without privileges can enter, and this test as such a user."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    before = os.geteuid()
    place.chmod(0o755)
    yield place
    os.seteuid(before)
    shutil.rmtree(place)


def test_one_unreadable_file_in_a_directory_of_a_variable_refused_the_whole_job(others_place: Path) -> None:
    names = ("home/work/configs/open", "home/work/configs/shut", "home/work/r.fa", "home/work/r.fa.shut")
    made(others_place, dict.fromkeys(names, "x"))
    for shut in ("configs/shut", "r.fa.shut"):
        (others_place / "home/work" / shut).chmod(0)
    os.seteuid(os.geteuid() or 64_320)
    assert meant(others_place, "true", MY_CFG="configs")[0] == {"configs/open"}
    assert meant(others_place, "cc -Iconfigs r.fa")[0] == {"configs/open", "r.fa"}
    assert meant(others_place, "true", SECRET=f"{others_place}/home/work/configs/shut")[0] == set()
    assert meant(others_place, "cat configs/shut")[0] == {"configs/shut"}, "what a word says may fail"


def test_a_link_in_a_directory_brought_the_key_that_it_leads_to(tmp_path: Path) -> None:
    made(tmp_path, {"home/.ssh/id_rsa": "", "home/work/data/a": "", "home/work/data/.env": "", "home/other/b": ""})
    data = tmp_path / "home/work/data"
    (data / "link").symlink_to("../../.ssh/id_rsa")
    (data / "out").symlink_to("../../other/b")
    (data / "in").symlink_to("a")
    (data / "loop").symlink_to("loop")
    (data / "p.key").symlink_to("../../.ssh/id_rsa")
    (data / "f1.key").symlink_to("../../.ssh/id_rsa")
    (tmp_path / "home/work/ssh").symlink_to("../.ssh")
    assert meant(tmp_path, "true", MY_DATA="data")[0] == {"data/a", "data/in"}
    assert meant(tmp_path, "cc -Idata")[0] == {"data/a", "data/in"}
    assert meant(tmp_path, "true", MY_DATA="ssh")[0] == set()
    assert meant(tmp_path, "prog data/p data/f%d.key data/f%d.key,x")[0] == set()
    assert words.meant(["x", "read data/link"], str(tmp_path / "home/work"), {}).files == ()
    assert meant(tmp_path, "true", X=f"{data}/link")[0] == set()
    assert meant(tmp_path, "prog x:data/.env -xdata/.env")[0] == set()


def test_a_word_that_is_a_path_brings_what_is_hidden_or_linked(tmp_path: Path) -> None:
    made(tmp_path, {"home/.ssh/id_rsa": "", "home/work/data/.env": "", "scratch/r.fa.bwt": "", "home/work/r.fa": ""})
    (tmp_path / "home/work/link").symlink_to("../.ssh/id_rsa")
    (tmp_path / "home/work/r.fa.bwt").symlink_to(tmp_path / "scratch/r.fa.bwt")
    assert meant(tmp_path, "prog --env=data/.env link")[0] == {"data/.env", "link"}
    assert meant(tmp_path, "bwa r.fa")[0] == {"r.fa", "r.fa.bwt"}, "as a pipeline links its inputs"


def test_who_works_below_a_hidden_directory_has_guesses_there(tmp_path: Path) -> None:
    made(tmp_path, {".cache/home/work/r.fa": "", ".cache/home/work/r.fa.bwt": ""})
    assert meant(tmp_path / ".cache", "bwa r.fa")[0] == {"r.fa", "r.fa.bwt"}


def test_of_a_large_directory_an_arbitrary_part_was_sent(tmp_path: Path) -> None:
    made(tmp_path, {f"home/work/data/{number}": "" for number in range(301)})
    assert meant(tmp_path, "true", MY_DATA="data") == (set(), {"data"})
    made(tmp_path, {"home/work/big/a": "", "home/work/big/b": ""})
    for name in "ab":
        os.truncate(tmp_path / "home/work/big" / name, words.FILE_BYTES_MAX * 2 // 3)
    assert meant(tmp_path, "true", MY_DATA="big") == (set(), {"big"})
    for number in range(5001):
        (tmp_path / "home/work/deep" / str(number)).mkdir(parents=True)
    made(tmp_path, {"home/work/deep/x": ""})
    assert meant(tmp_path, "true", MY_DATA="deep") == (set(), {"deep"})
    assert meant(tmp_path, "cc -Ideep") == (set(), {"deep"})


def test_a_class_path_with_a_dead_link_ended_the_client(tmp_path: Path) -> None:
    made(tmp_path, {"home/work/classes/A.class": ""})
    (tmp_path / "home/work/classes/B.class").symlink_to("gone")
    assert meant(tmp_path, "java -cp classes A")[0] == {"classes/A.class"}


@pytest.mark.parametrize(
    ("name", "value", "is_meant"),
    [
        ("MODE", "test", False),
        ("SLURM_JOB_NAME", "run", False),
        ("MODE", "test/", True),
        ("X", "run/in", True),
        ("MY_CFG", "test", True),
        ("nltk_data", "run", True),
        ("DATADIR", "run", True),
    ],
)
def test_a_mode_that_is_also_a_directory_brought_it(tmp_path: Path, name: str, value: str, is_meant: bool) -> None:
    made(tmp_path, {"home/work/test/x": "", "home/work/run/in/y": ""})
    assert bool(meant(tmp_path, "true", **{name: value})[0]) is is_meant


def test_a_directory_with_a_secret_link_is_packed_without_it(packed: Pack, tmp_path: Path) -> None:
    made(tmp_path, {"home/.ssh/id_rsa": "x", "home/work/configs/a": ""})
    (tmp_path / "home/work/configs/key").symlink_to("../../.ssh/id_rsa")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home"), "MY_CFG": "configs"}
    bundle = packed("true", environ, command=("true",), cwd=str(tmp_path / "home/work"))
    assert sent(bundle, tmp_path / "home") == {"work/configs/a"}


def programs_of(bundle: Bundle) -> set[str]:
    return {os.path.basename(os.fsdecode(file.path)) for file in bundle.manifest.files() if file.mode & 0o111}


def test_the_names_of_programs_in_messages_brought_them(packed: Pack, compiled: Compile, tmp_path: Path) -> None:
    """`puts("gcc"); puts("java")` of a program that calls system(3): 231 MiB."""
    made(tmp_path, {"jdk/bin/java": "", "jdk/lib/modules": ""})
    shutil.copy("/bin/true", tmp_path / "jdk/bin/java")
    os.truncate(tmp_path / "jdk/lib/modules", 31 << 20)
    environ = {"PATH": f"{tmp_path}/jdk/bin:/usr/bin:/bin"}
    names = 'puts("java"); puts("cksum"); puts("sort is not here. Install it."); puts("join e.g. 1.5 of %s tables");'
    runs = 'return system(argv[1]) || system("tac -r in.txt") || system("nl %s") || system("cut -c 1; fold -w 4");'
    head = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
    compiled("m", f"{head}int main(int n, char **argv) {{ {names} {runs} }}")
    found = programs_of(packed("./m", environ))
    assert {"tac", "nl", "fold"} <= found
    assert not {"java", "cksum", "sort", "join"} & found
    compiled("x", f'{head}int main(int n, char **argv) {{ {names} return execvp("tac", argv); }}')
    found = programs_of(packed("./x", environ))
    assert {"tac", "cksum"} <= found
    assert not {"java", "sort", "join"} & found, "java is too large with its library"
    os.truncate(tmp_path / "jdk/lib/modules", 1 << 20)
    assert "java" in programs_of(packed("./x", environ))


def test_an_interpreter_that_is_given_a_script_goes_along_whatever_its_size_is(
    packed: Pack, compiled: Compile, tmp_path: Path
) -> None:
    made(tmp_path, {"bin/gawk": "", "sub/s.awk": ""})
    shutil.copy("/bin/true", tmp_path / "bin/gawk")
    os.truncate(tmp_path / "bin/gawk", 31 << 20)
    environ = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    main = "#include <stdlib.h>\nint main(void) { return system("
    compiled("m", f'{main}"gawk -f sub/s.awk"); }}')
    assert "bin/gawk" in sent(packed("./m", environ), tmp_path)
    compiled("n", f'{main}"gawk -v x.y"); }}')
    assert "bin/gawk" not in sent(packed("./n", environ), tmp_path)


def test_the_search_path_of_one_script_found_the_programs_of_another(
    packed: Pack, compiled: Compile, tmp_path: Path
) -> None:
    """What a script puts into PATH is for what it runs, as that runs others, and for no program packed later."""
    compiled("tools/mine", "int main(void) { return 0; }")
    compiled("more/yours", "int main(void) { return 0; }")
    tells = f"export PATH={tmp_path}/tools:$PATH\n"
    scripts = {"all.sh": "sh first.sh; sh second.sh\n", "first.sh": f"{tells}sh inner.sh\n", "inner.sh": "mine\n"}
    scripts |= {"second.sh": f"mine; PATH={tmp_path}/more; sh third.sh\n", "third.sh": "yours\n"}
    work = tmp_path / "work"
    made(work, scripts)
    found = sent(packed("sh", command=("sh", "all.sh"), cwd=str(work)), tmp_path)
    assert {"tools/mine", "more/yours", "work/inner.sh"} <= found
    (work / "first.sh").write_text(tells)
    for command in (("sh", "all.sh"), ("sh", "-c", "sh first.sh; sh second.sh")):
        found = sent(packed("sh", command=command, cwd=str(work)), tmp_path)
        assert found & {"tools/mine", "more/yours"} == {"more/yours"}
    (work / "second.sh").write_text(". ./first.sh; mine\n")
    assert "tools/mine" in sent(packed("sh", command=("sh", "second.sh"), cwd=str(work)), tmp_path)


def test_blanks_in_a_script_took_a_second_each_64_kib() -> None:
    """With this many, what takes the square of their number never ends."""
    blanks = " " * 1_000_000
    assert commands_in(f"for a in{blanks}\n") is not None
    assert commands_in(f"for py in {blanks} x y\n$py z\n") is not None
    assert ["y", "z"] in commands_in("for py in  x y\n$py z\n")
    call = f"run{' ' * 120}"
    assert calls_in(call * 8000, "python") == []
    assert ["jq", "."] in calls_in("run (\n  [ 'jq', '.' ])", "python")
    assert ["jq"] in calls_in("system( ('jq'))", "perl")
    pair = f'"a"+{" " * 77}'.encode()
    assert names_in(pair * 2000, "python")
    assert "d/c*.x" in names_in(b'"d/c" +\n  str(i)\n  + ".x"', "python")


def test_a_script_on_standard_input_is_one_and_other_input_is_a_text(packed: Pack, tmp_path: Path) -> None:
    """`bash < x.sh`, `R --no-save < x.R` and `lmp < in.melt` found nothing that the input names."""
    made(tmp_path, {"x.sh": ". ./lib.sh\n", "lib.sh": "", "in.melt": "read_data data.lmp\n", "data.lmp": "", "b": ""})
    with open(tmp_path / "x.sh", "rb") as script, open(tmp_path / "in.melt", "rb") as deck:
        for words in (("sh",), ("sh", "-s", "b"), ("env", "A=1", "sh", "-")):
            bundle = packed(words[0], command=words, standard_input=script.fileno())
            assert {"x.sh", "lib.sh"} <= sent(bundle, tmp_path)
        for words in (("cat",), ("sh", "-c", "cat")):
            assert sent(packed(words[0], command=words, standard_input=script.fileno()), tmp_path) == {"lib.sh"}
        assert sent(packed("cat", command=("cat",), standard_input=deck.fileno()), tmp_path) == {"data.lmp"}
        assert script.read() == b". ./lib.sh\n", "all is left to read"
    with open("/bin/true", "rb") as binary:
        assert sent(packed("cat", command=("cat",), standard_input=binary.fileno()), tmp_path) == set()


def test_a_script_in_a_pipe_is_seen_and_stays_there(packed: Pack, tmp_path: Path) -> None:
    """`gproc e . sh <<END`: a shell writes the text into a pipe.  While somebody may write more, it is not known."""
    made(tmp_path, {"lib.sh": "", "data": ""})
    into, out_of = os.pipe()
    os.write(out_of, b". ./lib.sh\ncat data\n")
    assert sent(packed("sh", command=("sh",), standard_input=into), tmp_path) == set()
    os.close(out_of)
    assert sent(packed("cat", command=("cat",), standard_input=into), tmp_path) == set()
    assert sent(packed("sh", command=("sh",), standard_input=into), tmp_path) == {"lib.sh", "data"}
    assert os.read(into, 100) == b". ./lib.sh\ncat data\n"
    assert sent(packed("sh", command=("sh",), standard_input=into), tmp_path) == set()
    os.close(into)
    assert sent(packed("sh", command=("sh",), standard_input=into), tmp_path) == set()


def test_a_large_standard_input_is_no_script_and_is_read_in_part(packed: Pack, tmp_path: Path) -> None:
    made(tmp_path, {"late.txt": "", "first.txt": ""})
    (tmp_path / "big").write_text("first.txt " + "\n" * (1 << 20) + " late.txt")
    with open(tmp_path / "big", "rb") as big:
        assert sent(packed("sh", command=("sh",), standard_input=big.fileno()), tmp_path) == {"first.txt"}


def test_a_plain_program_at_a_terminal_costs_no_rules_for_words(tmp_path: Path) -> None:
    """`gproc e . date` became 10 ms slower: it loaded them to read a terminal or /dev/null, which they never do."""
    code = (
        "import sys; from gproc.packager import PackRequest, pack;"
        f"pack(PackRequest('/bin/date', '/', {{}}, command=('date',), standard_input=0, cache_dir={str(tmp_path)!r}));"
        "print('gproc.bundle.command.words' in sys.modules)"
    )
    with open(tmp_path / "in", "w+") as file:
        for given, needed in ((subprocess.DEVNULL, "False"), (file.fileno(), "True")):
            done = subprocess.run([sys.executable, "-c", code], stdin=given, capture_output=True, text=True, check=True)
            assert done.stdout.split() == [needed]


def test_a_list_of_much_on_standard_input_brings_nothing(packed: Pack, tmp_path: Path) -> None:
    """`wc -l < MANIFEST` sent 90 MB."""
    made(tmp_path, {**{f"f.{number}": "" for number in range(101)}, "list": "\n".join(f"f.{n}" for n in range(101))})
    with open(tmp_path / "list", "rb") as file:
        assert sent(packed("wc", command=("wc", "-l"), standard_input=file.fileno()), tmp_path) == set()
    made(tmp_path, {"few": "f.1 f.2"})
    with open(tmp_path / "few", "rb") as file:
        assert sent(packed("wc", command=("wc", "-l"), standard_input=file.fileno()), tmp_path) == {"f.1", "f.2"}
    os.truncate(tmp_path / "f.1", (20 << 20) + 1)
    with open(tmp_path / "few", "rb") as file:
        assert sent(packed("wc", command=("wc", "-l"), standard_input=file.fileno()), tmp_path) == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("XML_CATALOG_FILES", "conf/pre.mk"), ("MAKEFILES", "conf/pre.mk other.mk"), ("BASH_ENV", "conf/pre.mk"),
        ("NODE_OPTIONS", "--trace-warnings --require ./conf/pre.mk"), ("RUBYOPT", "-w -r./conf/pre"),
        ("JAVA_TOOL_OPTIONS", "-Xmx9m -Dconf=conf/pre.mk"),
    ],
)  # fmt: skip
def test_a_file_in_the_options_of_a_variable_stayed_here(tmp_path: Path, name: str, value: str) -> None:
    made(tmp_path / "home/work", {"conf/pre.mk": "", "conf/.mk": "", ".hidden.mk": ""})
    assert meant(tmp_path, "true", **{name: value})[0] == {"conf/pre.mk"}


def test_a_variable_of_the_session_names_no_file_here(tmp_path: Path) -> None:
    made(tmp_path / "home/work", {"xterm.x": "", "a/b": "", ".env": "", "plain": ""})
    assert meant(tmp_path, "true", TERM="xterm.x", LD_PRELOAD="a/b", X="./.env", MODE="plain", Y="../work/a/b") == (
        set(), set(),
    )  # fmt: skip
