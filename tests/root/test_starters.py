"""What was sent along is found and runs on a node without views: starters, and the variables that lead to data."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import pytest

from gproc.content.manifest import Directory, Entry, File, Manifest, Symlink
from gproc.root import layers, redirected
from gproc.root.asked import Asked
from gproc.root.code_layout import CodeLayout
from gproc.root.facts import NodeFacts
from gproc.root.locale_archive import ARCHIVE, files_in
from gproc.root.plan import LaidOut, plan
from gproc.root.starters import interpreter_of, starters_of

PRINTF: Final = b"/usr/bin/printf"
HOME_BIN: Final = b"/home/me/bin"
CATEGORIES: Final = (
    "LC_CTYPE", "LC_NUMERIC", "LC_TIME", "LC_COLLATE", "LC_MONETARY", "LC_MESSAGES/SYS_LC_MESSAGES", "", "LC_PAPER",
    "LC_NAME", "LC_ADDRESS", "LC_TELEPHONE", "LC_MEASUREMENT", "LC_IDENTIFICATION",
)  # fmt: skip


def entries_of(files: Mapping[bytes, bytes], links: Mapping[bytes, bytes]) -> tuple[Entry, ...]:
    """Files with their contents, links with their targets, and the directories that they need."""
    above = {parent for path in (*files, *links) for parent in Path(os.fsdecode(path)).parents if str(parent) != "/"}
    return (
        *(Directory(os.fsencode(path), 0o755, 0, 0) for path in sorted(above)),
        *(File(path, 0o755, 0, 0, len(content), 0, b"") for path, content in files.items()),
        *(Symlink(path, target) for path, target in links.items()),
    )


def lay_out(at: Path, files: Mapping[bytes, bytes], links: Mapping[bytes, bytes]) -> None:
    for path, content in files.items():
        place = at / os.fsdecode(path[1:])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(0o755)
    for path, target in links.items():
        os.symlink(target, bytes(at) + path)


def own_libc() -> bytes:
    with open("/proc/self/maps", "rb") as maps:
        found = re.search(rb"/\S+/libc\.so\.6$", maps.read(), re.MULTILINE)
    if found is None:
        pytest.skip("needs glibc")
    return found[0]


def content(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def test_programs_that_were_sent_are_found_and_run_with_the_libraries_that_were_sent(tmp_path: Path) -> None:
    with open(PRINTF, "rb") as file:
        loader = interpreter_of(file.fileno())
    if not loader:
        pytest.skip("needs a printf that is linked dynamically")
    files = {
        PRINTF: content(PRINTF),
        loader: content(loader),
        b"/opt/lib/libc.so.6": content(own_libc()),
        HOME_BIN + b"/by-mine": b"#!/opt/shell -e\nshow 'by %s %s\\n' mine \"$1\"\n",
        HOME_BIN + b"/by-the-nodes": b"#!/bin/sh\nby-mine \"$1\"; /bin/echo ${LD_LIBRARY_PATH-none}\n",
        b"/opt/shell": b"#!/bin/sh\necho interpreted \"$@\" | sed s,/.*/,,\nexec /bin/sh \"$@\"\n",
    }
    links = {b"/usr/bin/show": PRINTF}
    laid_out, formed, job = tmp_path / "laid", tmp_path / "formed", tmp_path / "a job"
    lay_out(laid_out, files, links)
    code = (HOME_BIN, b"/opt", b"/usr/bin")
    layout = CodeLayout(Manifest(PRINTF, loader, (b"/opt/lib",), code, (), (2, 99), entries_of(files, links)))
    starters = starters_of(layout, bytes(laid_out), ())
    layers.for_plain(layout, starters, bytes(laid_out), bytes(formed))
    formed.rename(job)  # each job has a copy elsewhere
    view = plan(
        LaidOut(layout, b"/l", for_plain=b"/f", started=starters.directories), bytes(tmp_path),
        Asked(b"/", search_path=b"%s:/usr/bin:/bin" % HOME_BIN), NodeFacts(False, False), b"a job",
    )  # fmt: skip
    assert view.source == b"/f"
    env = view.environment(())
    assert env[b"PATH"].startswith(b"%s/.gproc/bin%s:%s:" % (bytes(job), HOME_BIN, HOME_BIN))
    done = subprocess.run(["/bin/sh", "-c", "by-the-nodes word; show"], env=env, capture_output=True, check=False)
    assert done.stdout == b"interpreted -e by-mine word\nby mine word\nnone\n"
    assert done.stderr.startswith(b"show: missing operand\n")


@pytest.mark.parametrize("name", [b"libz.so.1", b"plain", b"it's", b"has[0]", b"same"])
def test_libraries_data_odd_names_and_what_the_node_has_get_no_starter(tmp_path: Path, name: bytes) -> None:
    files = {b"/usr/bin/" + name: b"#!/bin/sh\n"}
    lay_out(tmp_path, files, {})
    mode = 0o644 if name == b"plain" else 0o755
    entries = (*entries_of({}, {b"/usr/bin/l": b"m"})[:-1], File(b"/usr/bin/" + name, mode, 0, 0, 10, 0, b""))
    layout = CodeLayout(Manifest(b"/usr/bin/x", b"", (), (b"/usr/bin",), (), (0, 0), entries))
    assert starters_of(layout, bytes(tmp_path), {b"/usr/bin/same"}).scripts == ()


def test_a_file_that_is_no_elf_file_or_a_broken_one_has_no_interpreter(tmp_path: Path) -> None:
    for data in (b"", b"#!/bin/sh\n", b"\x7fELF\x02\x01" + b"\0" * 58):
        (tmp_path / "x").write_bytes(data)
        with open(tmp_path / "x", "rb") as file:
            assert interpreter_of(file.fileno()) == (b"" if data.startswith(b"\x7fELF") else None)


def archive_of(name: bytes, place: Path) -> bytes:
    """The files of a locale as localedef(1) puts them into an archive: locale/locarchive.h of glibc."""
    head, extents, data = 56, [0] * 26, b""
    names_at = head + 12
    record_at = names_at + len(name) + 1
    for number, category in enumerate(CATEGORIES):
        if category:
            content = (place / category).read_bytes()
            extents[2 * number : 2 * number + 2] = record_at + 27 * 4 + len(data), len(content)
            data += content + bytes(-len(content) % 16)
    numbers = 0xDE020109, 0, head, 1, 1, names_at, len(name) + 1, len(name) + 1, record_at, 1, 1, 0, 0, 0
    hashed = struct.pack("=3I", 1, names_at, record_at)
    return struct.pack("=14I", *numbers) + hashed + name + b"\0" + struct.pack("=27I", 1, *extents) + data


def test_a_locale_of_an_archive_is_found_by_a_path(tmp_path: Path) -> None:
    """LANG=en_US.UTF-8 was the locale C, without a word: glibc looks for the archive at one place only."""
    place = Path("/usr/lib/locale/C.utf8")
    if shutil.which("locale") is None or not place.is_dir():
        pytest.skip("needs glibc's locale, and the locale C.UTF-8")
    archive = archive_of(b"xx_XX.utf8", place)
    files = {ARCHIVE: archive}
    lay_out(tmp_path / "laid", files, {})
    layout = CodeLayout(Manifest(b"", b"", (), (), (), (0, 0), entries_of(files, {})))
    formed = tmp_path / "formed"
    layers.for_plain(layout, starters_of(layout, bytes(tmp_path / "laid"), ()), bytes(tmp_path / "laid"), bytes(formed))
    facts = NodeFacts(False, False, absent=frozenset([ARCHIVE]))
    found = dict(redirected.variables(layout, facts, bytes(formed), {}))
    env = {**os.environb, **found, b"LC_ALL": b"xx_XX.UTF-8"}
    done = subprocess.run(["locale", "charmap"], env=env, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"UTF-8\n", b"")
    for cut in (0, 10, 56, 100, len(archive) // 2):
        assert all(sum(extent) <= cut for _, extent in files_in(archive[:cut]))
    assert list(files_in(archive[:16] + b"\xff" * 40 + archive[56:])) == []


def test_a_hundred_locales_of_one_content_take_no_more_room_than_their_archive(tmp_path: Path) -> None:
    """Their user pays for the archive's bytes in a store."""
    size = 100_000
    names_at = 56 + 100 * 12
    names = b"".join(b"l%02d\0" % number for number in range(100))
    record_at = names_at + len(names)
    hashed = b"".join(struct.pack("=3I", 1, names_at + 4 * number, record_at) for number in range(100))
    head = struct.pack("=14I", 0xDE020109, 0, 56, 100, 100, names_at, *[0] * 8)
    archive = head + hashed + names + struct.pack("=27I", 1, record_at + 108, size, *[0] * 24) + bytes(size)
    files = {ARCHIVE: archive}
    lay_out(tmp_path / "laid", files, {})
    layout = CodeLayout(Manifest(b"", b"", (), (), (), (0, 0), entries_of(files, {})))
    formed = tmp_path / "formed"
    layers.for_plain(layout, starters_of(layout, bytes(tmp_path / "laid"), ()), bytes(tmp_path / "laid"), bytes(formed))
    made = [path.stat() for path in formed.rglob("LC_CTYPE")]
    assert (len(made), {found.st_size for found in made}, len({found.st_ino for found in made})) == (100, {size}, 1)
    overlapping = bytearray(archive)
    for number in range(12):
        struct.pack_into("=2I", overlapping, record_at + 4 + 8 * number, number, size)
    assert len({extent for _, extent in files_in(bytes(overlapping))}) <= 1


def variables(lacking: Iterable[bytes], *, callers: Mapping[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    paths = [
        b"/usr/share/zoneinfo/Asia/Tokyo", b"/usr/lib/locale/de_DE.utf8/LC_CTYPE", b"/lib/terminfo/x/xterm",
        b"/etc/ssl/certs/ca-certificates.crt", b"/usr/lib/x86_64-linux-gnu/ossl-modules/legacy.so",
        b"/home/me/conf", b"/home/me/had", b"/usr/bin/zsh",
    ]  # fmt: skip
    entries = entries_of(dict.fromkeys(paths, b""), {})
    layout = CodeLayout(Manifest(b"", b"", (), (), (), (0, 0), entries))
    facts = NodeFacts(False, False, absent=frozenset(lacking))
    return dict(redirected.variables(layout, facts, b"/r", callers or {}))


def test_data_that_the_node_lacks_is_found_by_the_variable_of_its_library() -> None:
    assert variables([]) == {}
    assert variables([b"/usr/share/zoneinfo/Asia/Tokyo"]) == {
        b"TZDIR": b"/r/usr/share/zoneinfo",
        b"PYTHONTZPATH": b"/r/usr/share/zoneinfo:/usr/share/zoneinfo",
    }
    assert variables([b"/usr/lib/locale/de_DE.utf8/LC_CTYPE"]) == {
        b"LOCPATH": b"/r/usr/lib/locale:/usr/lib/locale"
    }
    assert variables([b"/lib/terminfo/x/xterm"]) == {b"TERMINFO_DIRS": b"/r/lib/terminfo:"}
    assert variables([b"/etc/ssl/certs/ca-certificates.crt"]) == {
        b"SSL_CERT_FILE": b"/r/etc/ssl/certs/ca-certificates.crt"
    }
    assert variables([b"/usr/lib/x86_64-linux-gnu/ossl-modules/legacy.so"]) == {
        b"OPENSSL_MODULES": b"/r/usr/lib/x86_64-linux-gnu/ossl-modules"
    }


def test_a_variable_that_the_caller_has_set_is_the_callers() -> None:
    assert variables([b"/usr/share/zoneinfo/Asia/Tokyo"], callers={b"TZDIR": b"/tz", b"PYTHONTZPATH": b""}) == {}


def test_a_variable_that_names_a_file_of_the_callers_names_it_where_it_is() -> None:
    own = {b"CONF": b"/home/me/conf", b"HAD": b"/home/me/had", b"SHELL": b"/usr/bin/zsh", b"WORD": b"conf"}
    assert variables([b"/home/me/conf", b"/usr/bin/zsh"], callers=own) == {b"CONF": b"/r/home/me/conf"}
