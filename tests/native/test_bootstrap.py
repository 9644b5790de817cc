"""The helper as the bootstrap of a node: it starts or ends a slave."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from gproc import native
from tests.native.bootstrap import FAILING, HANGING, NAME, READY, Bootstrap, header, runtime_of, started, stop

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
    """55 kB for each version: the one that starts a slave stays, one that runs, and if none does the last one."""
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
