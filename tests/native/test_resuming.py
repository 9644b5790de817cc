"""A runtime that was begun is resumed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from gproc import native
from tests.native.bootstrap import runtimes
from tests.native.handing_on import ARCHIVE, HALF, await_part, begun, helper_with, interrupted, whole

pytestmark = pytest.mark.skipif(bool(native.why_missing()), reason="needs the static helper")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
PART = f".part-{BOOT_ID}-{os.uname().nodename}"
"""How a file of this machine ends for what has come of a runtime."""


def test_a_runtime_that_was_begun_is_resumed(helper: str, place: Path, stopped: None) -> None:
    interrupted(helper, place)
    assert [name.partition("-")[0] for name in runtimes(place)] == [".new"]
    run = begun(helper, place)
    assert run.answer() == f"need {HALF}"
    run.give(ARCHIVE[HALF:], HALF)
    assert whole(run, place) > 0
    assert run.answer() == f"ended {3 << 8}"
    run.end()


def test_who_cannot_listen_sends_all_and_what_is_there_is_skipped(helper: str, place: Path, stopped: None) -> None:
    interrupted(helper, place)
    run = begun(helper, place)
    run.give(ARCHIVE)
    assert run.answer() == f"need {HALF}"
    whole(run, place)
    assert run.answer() == f"ended {3 << 8}"
    run.end()


def test_an_order_that_leaves_bytes_out_is_refused(helper: str, place: Path) -> None:
    run = begun(helper, place)
    assert run.answer() == "need 0"
    run.give(ARCHIVE[HALF:], HALF)
    assert run.answer() == "failed 22 it says from nowhere the rest comes: order"
    run.end()


def test_what_a_front_end_that_went_away_sent_is_not_sent_again(helper: str, place: Path) -> None:
    run = begun(helper, place)
    assert run.answer() == "need 0"
    run.give(ARCHIVE[:HALF])
    run.close()
    assert run.answer().startswith("failed 32 the front end is gone")
    run.end()
    assert runtimes(place) == []
    again = begun(helper, place)
    assert again.answer() == f"need {HALF}"
    again.end()


def test_a_beginning_that_was_damaged_is_sent_anew(helper: str, place: Path, stopped: None) -> None:
    interrupted(helper, place)
    (part,) = place.glob("*.part*")
    part.write_bytes(bytes(1000) + part.read_bytes()[1000:])
    run = begun(helper, place)
    assert run.answer() == "need 0 what came is not the runtime"
    run.give(ARCHIVE)
    whole(run, place)
    run.end()


def test_the_beginning_of_another_runtime_goes(helper: str, place: Path) -> None:
    other = place / f"runtime-{'0' * 64}{PART}"
    other.write_bytes(b"x")
    run = begun(helper, place)
    assert run.answer() == "need 0"
    assert not other.exists()
    run.end()


def test_what_comes_to_a_machine_with_the_same_home_is_left_alone_for_a_day(
    helper: str, place: Path, stopped: None
) -> None:
    digest = hashlib.sha256(ARCHIVE).hexdigest()
    others = [place / f"runtime-{each}.part-{BOOT_ID[::-1]}-another" for each in (digest, "0" * 64)]
    left = [place / f"runtime-{'1' * 64}.part{end}" for end in ("", f"-{BOOT_ID[::-1]}-another")]
    for each in (*others, *left):
        each.write_bytes(b"of another")
    for each in left:
        os.utime(each, (0, 0))
    run = begun(helper, place)
    assert run.answer() == "need 0"
    run.give(ARCHIVE)
    assert run.answer().startswith("have ")
    run.end()
    assert sorted(place.glob("*.part*")) == sorted(others)


def test_hosts_with_one_home_and_locks_of_their_own_harm_each_other_in_nothing(place: Path, stopped: None) -> None:
    """As with homes on NFS, whose directories each host locks for itself: both wrote the same file."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for hosts with names of their own")
    with helper_with("-DLOCK_EXCLUSIVE=1") as helper:  # a shared lock
        hosts = {}
        for name in ("one", "two"):
            on_host = place.parent / name
            inside = f"hostname {name}; exec {helper} bootstrap {place}"
            on_host.write_text(f"#!/bin/sh\nexec unshare --uts sh -c '{inside}'\n")
            on_host.chmod(0o700)
            hosts[name] = begun(str(on_host), place)
        assert hosts["one"].answer() == "need 0"
        hosts["one"].give(ARCHIVE[:HALF])
        await_part(place, HALF)
        assert hosts["two"].answer() == "need 0", "it took what comes to the other one"
        hosts["two"].give(ARCHIVE)
        assert hosts["two"].answer().startswith("have ")
        hosts["one"].send(ARCHIVE[HALF:])
        whole(hosts["one"], place)
        for run in hosts.values():
            run.end()


@pytest.mark.stress  # a minute
def test_a_front_end_that_falls_silent_keeps_the_next_start_from_a_host_for_a_minute_only(
    helper: str, place: Path
) -> None:
    """As one that has lost its power: its connection ends for sshd after hours."""
    silent = begun(helper, place)
    assert silent.answer() == "need 0"
    silent.give(ARCHIVE[:HALF])
    next_one = begun(helper, place)
    assert next_one.answer() == f"need {HALF}"
    assert silent.answer() == "failed 110 the front end is gone: runtime"
    next_one.end()
    silent.end()
