"""What a script names in its text, or is told to look for, goes along: each a usage that failed on a bare node."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.bundle.command.search_paths import by_options, by_variables
from gproc.bundle.texts.executed import commands_in, shells_in
from gproc.packager import Bundle

Pack = Callable[..., Bundle]

SCRIPT = """#!/bin/sh
# it's a comment: nothing
. ./lib.sh
x=$(one 6*7 | two) y=`three`
if ./four a; then five; fi   # and "six
awk '
{ seven }
' data
cat <<'END' | eight
nine ten
END
timeout 9 eleven \\
    more
echo "twelve; thirteen"
for x in a b; do fourteen $x; done
"""


def test_the_programs_of_a_shell_script_are_the_first_words_of_its_commands() -> None:
    found = [words[0] for words in commands_in(SCRIPT)]
    wanted = {"one", "two", "three", "./four", "five", "awk", "cat", "eight", "timeout", "eleven", "fourteen"}
    assert wanted <= set(found)
    assert not set(found) & {"six", "nine", "ten", "more", "twelve", "thirteen", "echo", "if", "./lib.sh", "a"}


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("TOOL=jq\n$TOOL . x", ["jq", ".", "x"]),
        ('real="/usr/bin/convert"; exec "$real" "$@"', ["/usr/bin/convert", "$@"]),
        ("  export A='b-1.2'\n${A} c", ["b-1.2", "c"]),
        ("${PYTHON:-python3} x.py", ["python3", "x.py"]),
        ('if [ "$H" ]; then J=$H/bin/java; else J=java; fi\nexec "$J" -jar x', ["java", "-jar", "x"]),
    ],
)
def test_a_variable_that_the_text_sets_is_the_program_that_it_names(text: str, run: list[str]) -> None:
    assert run in commands_in(text)


def test_a_library_of_shell_that_path_leads_to_was_not_found() -> None:
    """`. gettext.sh`: a shell looks for a name without a slash on PATH."""
    text = ". gettext.sh\nif x; then source lib.bash; fi\n. ./here.sh\n. $1\necho . no.sh\n"
    assert {"gettext.sh", "lib.bash"} <= {words[0] for words in commands_in(text)}
    assert not {"./here.sh", "$1", "no.sh"} & {words[0] for words in commands_in(text)}


def test_the_shell_that_a_makefile_asks_for_was_not_found() -> None:
    text = "SHELL := /bin/bash -euo pipefail\nexport SHELL=zsh\nSHELLS = no\nSHELL ?= $(X)\nall:\n\tSHELL=ksh x\n"
    assert shells_in(text) == [["/bin/bash"], ["zsh"]]


def test_a_variable_that_the_text_does_not_set_to_a_word_is_no_program() -> None:
    found = commands_in("X=$(id)\nY=a b\n$X\n${Z}\n$1\n")
    assert [words for words in found if words != ["id"]] == [["b"]]


def test_a_script_brings_the_files_and_programs_that_it_names(packed: Pack, tmp_path: Path) -> None:
    """`cat data.txt`, `. ./lib.sh` and `./tool` in a script: none of them was there."""
    for name in ("lib.sh", "data.txt", "unnamed"):
        (tmp_path / name).write_text("x\n")
    shutil.copy("/bin/true", tmp_path / "tool")
    script = tmp_path / "run.sh"
    script.write_text(". ./lib.sh\nwc -l < data.txt\n./tool\nexpr 1 + 1\nsh inner\n")
    (tmp_path / "inner").write_text("cat deep.txt\n")
    (tmp_path / "deep.txt").write_text("x\n")
    bundle = packed("sh", command=("sh", "run.sh"), cwd=str(tmp_path))
    paths = {os.fsdecode(file.path) for file in bundle.manifest.files()}
    assert {str(tmp_path / name) for name in ("run.sh", "lib.sh", "data.txt", "tool", "inner", "deep.txt")} <= paths
    assert str(tmp_path / "unnamed") not in paths
    assert {"wc", "expr"} <= {os.path.basename(path) for path in paths}


def test_a_script_of_any_bytes_is_packed(packed: Pack, tmp_path: Path) -> None:
    """An archive behind a script (makeself): "embedded null byte", and nothing ran."""
    (tmp_path / "loop").symlink_to("loop")
    odd = b"a" * 5000 + b"\n./" + b"b" * 300 + b"/c\n./loop\nsh loop\n. loop\n"
    for name, rest in (("odd", odd), ("binary", b"exit\n" + bytes(range(256)) * 400), ("latin", b"caf\xe9 'x\n")):
        (tmp_path / name).write_bytes(b"expr 1\n" + rest)
        bundle = packed("sh", command=("sh", name), cwd=str(tmp_path))
        assert any(file.path.endswith(b"/expr") for file in bundle.manifest.files())


def test_a_script_brings_no_program_that_would_gain_rights(packed: Pack, tmp_path: Path) -> None:
    for name in ("raised", "ordinary"):
        shutil.copy("/bin/true", tmp_path / name)
    (tmp_path / "raised").chmod(0o4755)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/run.sh").write_text("raised; ordinary\n")
    environ = {"PATH": f"/usr/bin:/bin:{tmp_path}"}
    bundle = packed("sh", command=("sh", "run.sh"), cwd=str(tmp_path / "work"), environ=environ)
    names = {os.path.basename(os.fsdecode(file.path)) for file in bundle.manifest.files()}
    assert "ordinary" in names
    assert "raised" not in names


@pytest.mark.parametrize(
    ("words", "language", "found"),
    [
        (["-Ilib", "-I", "more", "x.pl", "-Iother"], "perl", ("lib", "more")),
        (["-w", "-Ia:b", "-e", "1"], "ruby", ("a", "b")),
        (["-L", "here", "x.scm"], "guile", ("here",)),
        (["-I"], "perl", ()),
        (["--", "-Ilib"], "perl", ()),
        (["-Ilib"], "python", ()),
    ],
)
def test_an_interpreter_is_told_where_to_look(words: list[str], language: str, found: tuple[str, ...]) -> None:
    assert by_options(words, language) == found


@pytest.mark.parametrize(
    ("name", "value", "language", "found"),
    [
        ("RUBYLIB", "/a:/b", "ruby", ["/a", "/b"]),
        ("LUA_PATH", "/a/?.lua;./?.lua;/b/?/init.lua;;", "lua", ["/a", "/b"]),
        ("TCLLIBPATH", "/a /b", "tcl", ["/a", "/b"]),
        ("R_LIBS", "/a", "R", ["/a"]),
        ("NODE_PATH", "", "node", []),
    ],
)
def test_a_variable_says_where_to_look(name: str, value: str, language: str, found: list[str]) -> None:
    assert list(by_variables({name: value}.get, language)) == found


def test_modules_are_found_in_directories_that_words_variables_and_scripts_name(packed: Pack, tmp_path: Path) -> None:
    """`perl -Ilib`, `use lib "$FindBin::Bin/../lib"`: Can't locate My/M.pm in @INC."""
    if not shutil.which("perl"):
        pytest.skip("needs perl")
    for place in ("told/deep", "set", "lib"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "M.pm").write_text("1;\n")
    (tmp_path / "lib" / "big.dat").write_text("no module\n")
    os.truncate(tmp_path / "lib" / "big.dat", 21 << 20)  # of a small directory all files go along
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "x.pl"
    script.write_text('use lib "$FindBin::Bin/../lib"; use lib ".";\n')
    environ = {**os.environ, "PERL5LIB": str(tmp_path / "set")}
    bundle = packed("perl", command=("perl", "-Itold", str(script)), cwd=str(tmp_path), environ=environ)
    paths = {os.fsdecode(file.path) for file in bundle.manifest.files()}
    own = {os.path.relpath(path, tmp_path) for path in paths if path.startswith(f"{tmp_path}/")}
    assert own == {"told/deep/M.pm", "set/M.pm", "lib/M.pm", "bin/x.pl"}


def test_the_callers_locale_and_time_zone_go_along_for_nodes_that_have_none(packed: Pack) -> None:
    """`TZ=America/New_York date` was in UTC there, and tmux did not start: each without a word of why."""
    zone = "/usr/share/zoneinfo/America/New_York"
    locale = "/usr/lib/locale/C.utf8/LC_CTYPE"
    if not (os.path.exists(zone) and os.path.exists(locale)):
        pytest.skip("needs time zones and the locale C.UTF-8")
    environ = {"PATH": "/usr/bin:/bin", "TZ": "America/New_York", "LC_ALL": "C.UTF-8"}
    bundle = packed("date", command=("date",), environ=environ)
    assert {os.fsencode(zone), os.fsencode(locale)} <= set(bundle.manifest.yielding)
    plain = packed("date", command=("date",), environ={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    assert plain.manifest.yielding == ()
    by_env = packed("env", command=("env", "TZ=America/New_York", "date"), words=True)
    assert os.fsencode(zone) in by_env.manifest.yielding


def test_what_a_node_lacks_goes_along_with_the_links_that_lead_to_it(packed: Pack) -> None:
    """`openssl req` found no settings: it reads them by /usr/lib/ssl, a link, and the node had no such directory."""
    link = "/usr/lib/ssl/openssl.cnf"
    if not (shutil.which("openssl") and os.path.islink(link)):
        pytest.skip("needs openssl as Debian has it")
    bundle = packed("openssl", command=("openssl", "version"))
    assert {os.fsencode(link), os.fsencode(os.path.realpath(link))} <= set(bundle.manifest.yielding)


def test_a_link_that_a_script_names_brings_the_program_to_which_it_leads(packed: Pack, tmp_path: Path) -> None:
    """`exec "$here/venv/bin/python" x.py`: the link and python went along, and none of python's libraries."""
    if not os.path.islink("/usr/bin/python3"):
        pytest.skip("needs Debian's python3")
    (tmp_path / "v").mkdir()
    (tmp_path / "v/python").symlink_to("/usr/bin/python3")
    (tmp_path / "x.sh").write_text('exec "$(dirname "$0")/v/python" "$@"\n')
    bundle = packed("sh", command=("sh", "x.sh"), cwd=str(tmp_path))
    assert any(file.path.endswith(b"/encodings/utf_8.py") for file in bundle.manifest.files())


def test_emacs_brings_its_library_and_its_memory(packed: Pack) -> None:
    """It does not start without its .pdmp, a dump of its memory, and its character maps.

    One that compiles natively finds no compiled code of a file without its source, warns, and crashes by that.
    """
    if not shutil.which("emacs"):
        pytest.skip("needs emacs")
    bundle = packed("emacs", command=("emacs", "--batch", "-Q"))
    paths = [file.path for file in bundle.manifest.files()]
    for end in (b".pdmp", b"/lisp/simple.elc", b"/etc/charsets/CP1250.map"):
        assert any(path.endswith(end) for path in paths), end
    sources = {path for path in paths if path.endswith(b".el.gz")}
    assert bool(sources) == bool(list(Path("/usr/share/emacs").glob("*/lisp/simple.el.gz")))


def test_a_script_of_the_distribution_brings_what_it_is_known_to_run(packed: Pack) -> None:
    """GNU parallel looks at processes with ps, which a minimal node has not."""
    if not (shutil.which("parallel") and shutil.which("ps")):
        pytest.skip("needs GNU parallel and ps")
    bundle = packed("parallel", command=("parallel", "true", ":::", "1"))
    assert "ps" in {os.path.basename(os.fsdecode(file.path)) for file in bundle.manifest.files()}
