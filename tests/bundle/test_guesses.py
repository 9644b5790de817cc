"""What a guess must not do: take a secret, make a command fail, take too much, or look for ever."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gproc.bundle.image import Image
from gproc.bundle.languages import java
from gproc.bundle.memo import Memo
from gproc.bundle.surroundings import Surroundings
from gproc.bundle.texts import beside, near
from gproc.bundle.texts.mentioned import Mentioned
from gproc.bundle.texts.named import is_pattern
from gproc.bundle.texts.patterns import LOOKED_AT_MAX, matching
from gproc.errors import BundleError
from gproc.packager import Bundle, PackRequest, pack
from tests.bundle.conftest import made, sent

Pack = Callable[..., Bundle]
Compile = Callable[..., Path]


def test_two_files_that_name_each_other_end(packed: Pack, compiled: Compile, tmp_path: Path) -> None:
    """Packing read a list while it grew by what it read."""
    made(tmp_path, {"a.txt": "see b.txt\n", "b.txt": "see a.txt\n"})
    compiled("m", '#include <stdio.h>\nint main(void) { return fopen("a.txt", "r") == 0; }')
    assert sent(packed("./m"), tmp_path) == {"m", "a.txt", "b.txt"}


def test_a_program_and_what_its_files_name_have_one_bound(packed: Pack, compiled: Compile, tmp_path: Path) -> None:
    """Each file that it named could bring 100 MB more."""
    made(tmp_path, {"a.txt": "see a.dat\n", "b.txt": "see b.dat\n", "a.dat": "", "b.dat": ""})
    for name in ("a.dat", "b.dat"):
        os.truncate(tmp_path / name, 60 << 20)
    compiled("m", '#include <stdio.h>\nint main(void) { return puts("a.txt") + puts("b.txt"); }')
    assert sent(packed("./m"), tmp_path) == {"m", "a.txt", "b.txt", "a.dat"}


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that all users reach."""
    if os.geteuid() != 0:
        pytest.skip("needs root for files that another user may not read")
    with tempfile.TemporaryDirectory(prefix="gproc-guesses-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextmanager
def another_user() -> Iterator[None]:
    os.seteuid(64_320)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_nobody_asked_for_and_that_cannot_be_read_stays_here(packed: Pack, place: Path) -> None:
    """`for x in configs` was refused, because configs/b.json was another user's."""
    script = "for x in configs; do ls $x; done; ./own.sh; sh other.sh; . ./third.sh"
    made(place, {"configs/a.json": "", "configs/b.json": "", "own.sh": "#!/bin/sh\n", "other.sh": ""})
    made(place, {"x.sh": script, "third.sh": ""})
    (place / "configs/no").mkdir(mode=0o700)
    os.mkfifo(place / "configs/pipe")
    for name in ("configs/b.json", "own.sh", "other.sh", "third.sh"):
        (place / name).chmod(0o700)
    packed("sh", command=("sh", "x.sh"), cwd=str(place))  # imports what the other user may not be able to read
    with another_user():
        script_only = packed("sh", command=("sh", "x.sh"), cwd=str(place), cache_dir="/proc/none")
        text_only = packed("sh", command=("sh", "-c", "ls configs"), cwd=str(place), cache_dir="/proc/none")
    assert sent(script_only, place) == {"x.sh", "configs/a.json"}
    assert sent(text_only, place) == {"configs/a.json"}


def test_a_library_goes_along_without_what_cannot_be_read_in_it(packed: Pack, place: Path) -> None:
    """PERL5LIB named a directory with a file of another user's: the command was refused."""
    made(place, {"lib/A.pm": "1;", "lib/B.pm": "1;", "lib/no/C.pm": "1;", "work/x.pl": "use A;"})
    (place / "lib/B.pm").chmod(0o600)
    (place / "lib/no").chmod(0o700)
    (place / "lib/D.pm").symlink_to("B.pm")
    environ, work = {"PATH": "/usr/bin:/bin", "PERL5LIB": str(place / "lib")}, str(place / "work")
    packed("perl", environ, command=("perl", "x.pl"), cwd=work)
    with another_user():
        bundle = packed("perl", environ, command=("perl", "x.pl"), cwd=work, cache_dir="/proc/none")
    assert sent(bundle, place) == {"lib/A.pm", "work/x.pl"}


@pytest.mark.usefixtures("settled")
def test_a_file_that_may_be_read_since_then_goes_along(packed: Pack, place: Path) -> None:
    """Its mode is a part of what the cache's answer depends on."""
    made(place, {"in.cfg": "", "x.sh": "cat in.cfg", "cache/x": ""})
    os.chown(place / "cache", 64_320, 0)
    packed("sh", command=("sh", "x.sh"), cwd=str(place))
    request = PackRequest(
        "sh", str(place), {"PATH": "/usr/bin:/bin"}, command=("sh", "x.sh"), cache_dir=str(place / "cache/own")
    )
    for mode, found in ((0o600, {"x.sh"}), (0o644, {"x.sh", "in.cfg"})):
        (place / "in.cfg").chmod(mode)
        with another_user():
            bundle = pack(request)
            assert not pack(request).reasons, "the cache has an answer"
        assert sent(bundle, place) == found


def test_a_word_that_is_a_file_which_cannot_be_read_is_refused(packed: Pack, place: Path) -> None:
    made(place, {"x.sh": ""})
    (place / "x.sh").chmod(0o600)
    packed("sh", command=("sh", "x.sh"), cwd=str(place))
    with another_user(), pytest.raises(BundleError, match=r"x\.sh: cannot be packed"):
        packed("sh", command=("sh", "x.sh"), cwd=str(place), cache_dir="/proc/none")


def test_a_program_that_sets_its_user_is_not_guessed(packed: Pack, tmp_path: Path) -> None:
    made(tmp_path, {"tools/su": "#!/bin/sh\n", "tools/a": "", "x.sh": "ls tools; tools/su"})
    (tmp_path / "tools/su").chmod(0o4755)
    assert sent(packed("sh", command=("sh", "x.sh")), tmp_path) == {"tools/a", "x.sh"}


def test_nothing_hidden_goes_along_by_a_guess(packed: Pack, tmp_path: Path) -> None:
    """A link proj/s to ../.ssh brought .ssh/id_rsa, as a directory, by a pattern and by its name."""
    made(tmp_path, {
        ".ssh/id_rsa": "", "proj/keys/a": "", "proj/.env": "", "proj/in/.x/y.txt": "", "more/z": "", "proj/d/ok": "",
    })  # fmt: skip
    (tmp_path / "proj/s").symlink_to("../.ssh")
    (tmp_path / "proj/keys/out").symlink_to("../../.ssh")
    (tmp_path / "proj/keys/rsa").symlink_to("../../.ssh/id_rsa")
    (tmp_path / "proj/keys/more").symlink_to("../../more")
    (tmp_path / "proj/keys/back").symlink_to("..")
    (tmp_path / "proj/id.txt").symlink_to("../.ssh/id_rsa")
    text = "ls s keys; cat s/id_rsa .env in/.x/y.txt; cat s/id* *.txt */*rsa $HOME/proj/s/id_rsa d/ok"
    made(tmp_path, {"proj/x.sh": text})
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    bundle = packed("sh", environ, command=("sh", "x.sh"), cwd=str(tmp_path / "proj"))
    assert sent(bundle, tmp_path) == {"proj/x.sh", "proj/keys/a", "proj/d/ok"}


def test_a_script_in_a_hidden_directory_brings_what_lies_beside_it(packed: Pack, tmp_path: Path) -> None:
    made(tmp_path, {".local/bin/x.sh": ". ./lib.sh; cat .secret ../key.txt\n"})
    made(tmp_path, {".local/bin/lib.sh": "", ".local/bin/.secret": "", ".local/key.txt": ""})
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    bundle = packed("sh", environ, command=("sh", str(tmp_path / ".local/bin/x.sh")))
    assert ".local/bin/lib.sh" in sent(bundle, tmp_path)
    assert not {".local/bin/.secret", ".local/key.txt"} & sent(bundle, tmp_path)


def test_a_word_of_a_text_that_lists_is_not_a_directory_of_the_home(
    packed: Pack, compiled: Compile, tmp_path: Path
) -> None:
    """`ls x; echo "see Documents"` brought all of ~/Documents."""
    made(tmp_path, {"Documents/diary": "", "work/x/a": "", "work/x/b/c": ""})
    (tmp_path / "work/papers").symlink_to("../Documents")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    bundle = packed("sh", environ, command=("sh", "-c", "ls work/x; echo see Documents work/papers"))
    assert sent(bundle, tmp_path) == {"work/x/a", "work/x/b/c"}
    source = '#include <dirent.h>\nint main(void) { return opendir("Documents") || opendir("work/x"); }'
    compiled("m", source)
    assert sent(packed("./m", environ), tmp_path) == {"m", "work/x/a", "work/x/b/c"}


def test_a_listed_directory_goes_along_whole_or_not_at_all(packed: Pack, tmp_path: Path) -> None:
    made(tmp_path, {f"many/{number // 500}/{number}": "" for number in range(1001)})
    made(tmp_path, {f"some/{number // 500}/{number}": "" for number in range(1000)})
    made(tmp_path, {"large/a": "", "large/b": "", "large/c": ""})
    for name in "ab":
        os.truncate(tmp_path / "large" / name, 60 << 20)
    bundle = packed("sh", command=("sh", "-c", "ls many some large"))
    assert {name.partition("/")[0] for name in sent(bundle, tmp_path)} == {"some"}
    assert len(sent(bundle, tmp_path)) == 1000


@pytest.mark.parametrize("pattern", [b"*/*.key", b"*.key", b"a*.key", b"*/x/*.key"])
def test_a_made_name_that_says_only_a_suffix_is_no_pattern(pattern: bytes) -> None:
    """`f"{a}/{b}.key"` brought every .key of every directory."""
    assert not is_pattern(pattern)


@pytest.mark.parametrize("pattern", [b"d/*.key", b"in*.csv", b"*/out.txt", b"*/my_log", b"run/*", b"../data/*.csv"])
def test_a_made_name_that_says_more_is_a_pattern(pattern: bytes) -> None:
    assert is_pattern(pattern)


def test_a_pattern_around_the_script_says_more_than_a_suffix_below_any_directory(packed: Pack, tmp_path: Path) -> None:
    """`case $x in *) ;; */*.key) ;; esac` brought all that lay beside the script, and the keys of all directories."""
    made(tmp_path, {"s/x.sh": "case $x in *) ;; */*.key) ;; esac; cat in/*", "s/a": "", "s/d/b.key": "", "s/in/c": ""})
    assert sent(packed("sh", command=("sh", "s/x.sh")), tmp_path) == {"s/x.sh", "s/in/c"}


def test_names_that_are_looked_at_have_a_bound_even_if_they_are_no_files(tmp_path: Path) -> None:
    for number in range(LOOKED_AT_MAX + 1):
        (tmp_path / f"{number:05}").symlink_to("/nonexistent")
    made(tmp_path, {"x": ""})
    image = Image("/", Memo(str(tmp_path / "memo")))
    assert [*matching(image, f"{tmp_path}/*", ())] == []


def test_a_directory_of_numbered_files_is_not_looked_for_by_each_number(tmp_path: Path) -> None:
    """data.1 to data.1900 beside a large program of Fortran: a minute, for 1,900 looks through it."""
    made(tmp_path, {f"data.{number}": "" for number in range(100)})
    made(tmp_path, {"in.nml": "", **{f"a.x{number}": "" for number in range(100)}})
    text = b" in.nml data.7 " + b" ".join(b"a.x%d" % number for number in range(100))
    image = Image("/", Memo(str(tmp_path / "memo")))
    found = {os.path.basename(path) for path, _ in near.files_named(image, str(tmp_path), "", text)}
    assert "in.nml" in found
    assert "data.7" not in found
    assert len(found) == near.SUFFIXES_MAX


def test_the_functions_of_octave_count_to_the_bound(tmp_path: Path) -> None:
    made(tmp_path, {"one.m": "", "two.m": ""})
    for name in ("one.m", "two.m"):
        os.truncate(tmp_path / name, 60 << 20)
    mentioned = Mentioned(Image("/", Memo(str(tmp_path / "memo"))), Surroundings({}, str(tmp_path)))
    assert beside.named_in(mentioned, "one(); two();", "octave").files == (f"{tmp_path}/one.m",)


def test_a_jar_with_a_large_directory_is_not_parsed(tmp_path: Path) -> None:
    """Its entries were all made before the first 2,000 of them were taken: a second, and 100 MB of memory."""
    with zipfile.ZipFile(tmp_path / "m.jar", "w") as archive:
        archive.writestr("A.class", b"\xca\xfe\xba\xbe\x01\0\x04conf")
    image = Image("/", Memo(str(tmp_path / "memo")))
    assert java.strings_of(image, str(tmp_path / "m.jar")) == b'"conf"'
    with zipfile.ZipFile(tmp_path / "m.jar", "a") as archive:
        for number in range(java.DIRECTORY_BYTES_MAX // 200):
            archive.writestr(f"{number:0>200}", b"")
    assert java.strings_of(image, str(tmp_path / "m.jar")) == b""


@pytest.mark.usefixtures("settled")
def test_a_compiled_program_finds_a_file_and_a_directory_made_since(compiled: Compile, tmp_path: Path) -> None:
    """The cache's answer held, without what the program names."""
    compiled("m", (
        '#include <dirent.h>\n#include <stdio.h>\nint main(void) { return !opendir("plug") || !fopen("in.x", "r"); }'
    ))  # fmt: skip
    environ = {"PATH": "/usr/bin:/bin"}
    request = PackRequest("./m", str(tmp_path), environ, cache_dir=str(tmp_path / "cache" / "b"))
    assert sent(pack(request), tmp_path) == {"m"}
    made(tmp_path, {"in.x": ""})
    assert sent(pack(request), tmp_path) == {"m", "in.x"}
    made(tmp_path, {"plug/a": ""})
    assert sent(pack(request), tmp_path) == {"m", "in.x", "plug/a"}
    assert not pack(request).reasons, "the cache has an answer"
