"""The helper as the bootstrap of a node: it starts or ends a slave."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import subprocess
from pathlib import Path

import pytest

from gproc import native
from tests.native.bootstrap import FAILING, HANGING, NAME, READY, Bootstrap, header, runtime_of, started, stop
from tests.refusing import CLOSE_RANGE, refusing

F_OFD_SETLK = 37
"""fcntl(2); Python 3.11 has no name for it."""

pytestmark = pytest.mark.skipif(bool(native.why_missing()), reason="needs the static helper")


def test_a_slave_gets_its_words_and_its_secret_and_nothing_else_has_the_secret(
    helper: str, place: Path, stopped: None
) -> None:
    archive = runtime_of(READY)
    run = started(helper, place, archive, words=(NAME, "s", "--given"), secret=b"4f1e9c-hidden")
    assert run.answer() == "ready joined"
    assert run.end()[0] == 0
    root = place / f"runtime-{hashlib.sha256(archive).hexdigest()}"
    assert (root / "ld.so.secret").read_bytes() == b"4f1e9c-hidden"
    expected = f"--library-path {root}/lib {root}/bin/python3 -I -S -X utf8 -m gproc s --given"
    assert (root / "ld.so.words").read_text().strip() == expected
    assert "4f1e9c" not in (root / "ld.so.env").read_text()


def test_what_is_there_is_not_asked_for_again(helper: str, place: Path, stopped: None) -> None:
    archive = runtime_of(FAILING)
    for expected in ("need 0", "have 0"):
        run = Bootstrap(helper, place)
        run.send(header(archive))
        assert run.answer() == expected
        if expected == "need 0":
            run.give(archive)
            assert run.answer().startswith("have ")
        assert run.answer() == f"ended {3 << 8}"
        status, said = run.end()
        assert status == 1
        assert "cannot reach kn1" in said


def test_a_slave_that_is_there_is_named_or_replaced(helper: str, place: Path, stopped: None) -> None:
    archive = runtime_of(READY)
    run = started(helper, place, archive)
    assert run.answer() == "ready joined"
    run.end()
    second = started(helper, place, archive)
    word, _, pid = second.answer().partition(" ")
    assert word == "found"
    os.kill(int(pid), 0)
    second.end()
    third = started(helper, place, archive, flags=1)
    assert third.answer() == "ready joined"
    third.end()
    fourth = started(helper, place, archive)
    assert fourth.answer() not in (f"found {pid}", "")
    fourth.end()
    assert stop(helper, place) == "stopped"
    assert stop(helper, place) == "none"


def test_a_front_end_that_goes_away_leaves_no_slave(helper: str, place: Path, stopped: None) -> None:
    run = started(helper, place, runtime_of(HANGING))
    assert run.answer() == "begun"
    run.close()
    assert run.answer() == "abandoned"
    assert run.end()[0] == 1
    assert stop(helper, place) == "none"


def test_helpers_stayed_for_ever(helper: str, place: Path, stopped: None) -> None:
    """Some 80 kB for each version: the one that starts a slave stays, one that runs, and if none does the last one."""
    content = Path(helper).read_bytes()
    for mark in range(6):
        path = place / f"helper-{mark:032x}"
        path.write_bytes(content)
        path.chmod(0o700)
        os.utime(path, (mark, mark))
    (waits := place.parent / "waits").mkdir(0o700)

    def after(mark: int) -> list[int]:
        run = started(str(place / f"helper-{mark:032x}"), place, runtime_of(READY), flags=1)
        assert run.answer() == "ready joined"
        run.end()
        return sorted(int(path.name[7:], 16) for path in place.glob("helper-*"))

    with subprocess.Popen([place / f"helper-{1:032x}", "bootstrap", waits], stdin=subprocess.PIPE) as runs:
        assert after(2) == [1, 2]
        runs.kill()
    for mark in range(3, 6):
        (place / f"helper-{mark:032x}").write_bytes(content)
        (place / f"helper-{mark:032x}").chmod(0o700)
        os.utime(place / f"helper-{mark:032x}", (mark, mark))
    assert after(5) == [2, 5], "and the one that was used last, though others came later"


def test_a_slave_on_an_older_kernel_lost_its_lock_when_it_began(
    helper: str, place: Path, tmp_path: Path, stopped: None
) -> None:
    """Before Linux 5.9, which has close_range(2), a second slave was started beside it, and `gproc stop` found none."""
    archive, older = runtime_of(READY), refusing(helper, tmp_path / "older", CLOSE_RANGE)
    run = started(older, place, archive)
    assert run.answer() == "ready joined"
    run.end()
    second = started(helper, place, archive)
    word, _, pid = second.answer().partition(" ")
    assert word == "found"
    assert "40" not in os.listdir(f"/proc/{pid}/fd"), "what the front end's shell had open stays no longer either"
    second.end()
    assert stop(helper, place) == "stopped"
    assert stop(helper, place) == "none"


def test_a_lock_whose_holder_cannot_be_seen_counted_as_free(helper: str, place: Path, stopped: None) -> None:
    """As one on another host with the same home, or in a namespace of its own: the front end got no answer."""
    run = started(helper, place, runtime_of(FAILING))
    assert run.answer() == f"ended {3 << 8}"
    run.end()
    with open(place / f"{NAME}.lock", "r+b") as lock:
        fcntl.fcntl(lock, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        for said in (stop(helper, place), started(helper, place, runtime_of(READY), flags=1).answer()):
            assert "a process that cannot be seen from here has it" in said
