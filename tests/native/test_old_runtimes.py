"""Old runtimes go, except those that are in use."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from gproc import native
from tests.native.bootstrap import (
    READY,
    Bootstrap,
    header,
    idle,
    name_of,
    other_runtime,
    runtime_of,
    runtimes,
    started,
    stop,
)

pytestmark = pytest.mark.skipif(bool(native.why_missing()), reason="needs the static helper")


def test_old_runtimes_do_not_pile_up_but_the_last_one_stays(helper: str, place: Path, stopped: None) -> None:
    """50 MB each."""
    archives = [other_runtime(mark) for mark in range(4)]
    for archive in archives:
        run = started(helper, place, archive, flags=1)
        assert run.answer() == "ready joined"
        run.end()
    assert runtimes(place) == sorted(map(name_of, archives[2:]))
    started(helper, place, archives[2], flags=1).end()
    assert runtimes(place) == sorted(map(name_of, archives[2:])), "nothing is sent again to a node that goes back"


def test_a_runtime_that_a_slave_of_another_cluster_uses_stays(helper: str, place: Path, stopped: None) -> None:
    archives = [other_runtime(mark) for mark in range(4)]
    other = started(helper, place, archives[0], words=("s-other", "s"))
    assert other.answer() == "ready joined"
    for archive in archives[1:]:
        run = started(helper, place, archive, flags=1)
        assert run.answer() == "ready joined"
        run.end()
    kept = {name_of(archives[0]), name_of(archives[3])}
    assert kept <= set(runtimes(place)) and name_of(archives[1]) not in runtimes(place)
    assert idle(helper, place) == (3, f"kept another slave of this user runs there: {place}/s-other.lock")
    subprocess.run([helper, "stop", place, "s-other"], check=True, stdout=subprocess.DEVNULL)
    other.end()
    stop(helper, place)
    assert idle(helper, place) == (0, ""), "the file of a lock that nobody holds is none"
    assert (place / "s-other.lock").exists()


def test_a_runtime_stays_whose_slave_is_only_about_to_start(helper: str, place: Path, stopped: None) -> None:
    archives = [other_runtime(mark) for mark in range(4)]
    about = Bootstrap(helper, place)
    about.send(header(archives[0], words=("s-about", "s"), secret=b"later"))
    assert about.answer() == "need 0"
    about.give(archives[0])
    assert about.answer().startswith("have ")
    for archive in archives[1:]:
        run = started(helper, place, archive, flags=1)
        assert run.answer() == "ready joined"
        run.end()
    about.send(b"later")
    assert about.answer() == "ready joined"
    subprocess.run([helper, "stop", place, "s-about"], check=True, stdout=subprocess.DEVNULL)
    about.end()


def test_a_runtime_stays_from_which_anything_runs_or_which_a_command_needs(
    helper: str, place: Path, stopped: None
) -> None:
    """`~/.local/share/gproc/gproc s`, which scripts/copytonodes.sh installs, has no lock."""
    archives = [other_runtime(mark) for mark in range(5)]
    started(helper, place, archives[0]).end()
    (place / f"{name_of(archives[0])}.kept").touch()
    started(helper, place, archives[1], flags=1).end()
    program = place / name_of(archives[1]) / "program"
    program.write_bytes(Path(os.fsdecode(native.HELPER)).read_bytes())
    program.chmod(0o700)
    (waits := place.parent / "waits").mkdir(0o700)
    with subprocess.Popen([program, "bootstrap", waits], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as runs:
        for archive in archives[2:]:
            started(helper, place, archive, flags=1).end()
        found = runtimes(place)
        runs.kill()
    assert {name_of(archives[index]) for index in (0, 1, 4)} <= set(found)
    assert name_of(archives[2]) not in found


def test_a_machine_with_the_same_home_had_its_half_unpacked_runtime_removed(
    helper: str, place: Path, stopped: None
) -> None:
    """Its locks are not seen here.  What it unpacks has another name; the machine that comes second takes what is
    there."""
    archive = runtime_of(READY)
    (others := place / ".new-00000000-0000-0000-0000-000000000000").mkdir()
    (left := place / ".new-11111111-1111-1111-1111-111111111111").mkdir()
    os.utime(left, (0, 0))
    run = Bootstrap(helper, place)
    run.send(header(archive))
    assert run.answer() == "need 0"
    winner = place / name_of(archive)
    winner.mkdir()
    (winner / "ld.so").write_bytes(READY)
    (winner / "ld.so").chmod(0o700)
    run.give(archive)
    assert re.fullmatch("have [0-9]+", run.answer())
    assert run.answer() == "ready joined"
    run.end()
    assert others.exists() and not left.exists()
    assert [path.name for path in winner.iterdir() if path.suffix == ""] == [], "the winner's"
    assert [path.name for path in place.glob(".new*")] == [others.name]
