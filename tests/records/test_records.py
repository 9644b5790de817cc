"""Records of jobs: their names, their database, and what is kept of them."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import GprocError, UsageError
from gproc.nodespec import Place
from gproc.records.database import Changes, DamagedRecords, JobDatabase
from gproc.records.keeper import NUMBERS, RecordKeeper
from gproc.records.place import open_state
from gproc.records.record import ARGV_BYTES_MAX, JobName, Keeping, KeptJob, TaskNotes, endings_of, shortened
from gproc.records.rows import record_of, row_of
from gproc.request.outcome import Killed, Lost, Outcome, Returned, Signalled
from tests.loop import run

outcomes = st.sampled_from([Returned(0), Returned(3), Signalled(11), Killed(9, started=True), Lost("it is gone")])


def job(number: int, *, uid: int = 1000, name: str = "", ended_s: float = 0.0, width: int = 2) -> KeptJob:
    return KeptJob(
        number=number,
        name=name,
        uid=uid,
        argv=(b"echo", b"\xff"),
        nodes=f"1-{width}",
        places=tuple(Place((node + 1,)) for node in range(width)),
        missing="",
        state="ended" if ended_s else "running",
        detached=False,
        spooled=False,
        started_s=1.0,
        ended_s=ended_s,
        endings=endings_of(dict.fromkeys(range(width), Returned(0))) if ended_s else (),
    )


@given(st.dictionaries(st.integers(0, 300), outcomes))
def test_outcomes_come_back_rank_by_rank(known: dict[int, Outcome]) -> None:
    kept = msgspec.structs.replace(job(1, width=301), endings=endings_of(known))
    assert kept.outcomes() == known
    assert record_of(row_of(kept)) == kept


def test_a_record_says_what_the_job_did_and_one_of_an_older_gproc_counts_as_a_run(tmp_path: Path) -> None:
    place = str(tmp_path / "jobs.sqlite")
    database = JobDatabase(place)
    database.write(Changes([job(1), msgspec.structs.replace(job(2), action="map", tasks=TaskNotes(3)), job(3)]))
    database.write(Changes([msgspec.structs.replace(job(3), action="collect")]))
    assert [each.action for each in database.running()] == ["run", "map", "collect"]
    database.remove([3])
    database.close()
    older = sqlite3.connect(place)
    assert older.execute("select number from actions").fetchall() == [(2,)]
    older.executescript("drop table actions; delete from tasks")  # as a file that an older one has made
    older.close()
    database = JobDatabase(place)
    assert [each.action for each in database.running()] == ["run", "run"]
    database.close()


@given(st.lists(st.binary(max_size=3000), max_size=200))
def test_a_long_command_is_cut(argv: list[bytes]) -> None:
    kept = shortened(argv)
    assert sum(map(len, kept)) <= ARGV_BYTES_MAX + 6
    assert kept == tuple(argv) or kept[-1].endswith(b"...")


@pytest.mark.parametrize(
    ("text", "name"), [("12", JobName(number=12)), ("last", JobName()), ("night-run.2", JobName(name="night-run.2"))]
)
def test_a_job_is_named_by_number_by_name_or_as_the_last(text: str, name: JobName) -> None:
    assert JobName.parse(text) == name
    assert str(name) == text


@pytest.mark.parametrize("text", ["", "-1", "a b", "2nd", "x" * 65, "é", "9" * 19, "../etc"])
def test_what_is_no_name_of_a_job_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a job"):
        JobName.parse(text)


def test_jobs_are_found_by_number_by_name_and_as_the_last_and_only_their_users(tmp_path: Path) -> None:
    database = JobDatabase(str(tmp_path / "jobs.db"))
    database.write(Changes([job(1, name="a"), job(2, name="a"), job(3, uid=5), job(4, uid=5, name="a")]))
    found = {
        (text, uid, every): database.find(JobName.parse(text), uid, all_users=every)
        for text in ("1", "3", "9", "a", "last") for uid in (0, 1000) for every in (False, True)
    }  # fmt: skip
    numbers = {asked: each.number for asked, each in found.items() if each is not None}
    assert numbers == {
        ("1", 1000, False): 1, ("a", 1000, False): 2, ("last", 1000, False): 2,
        ("1", 1000, True): 1, ("3", 1000, True): 3, ("a", 1000, True): 2, ("last", 1000, True): 2,
        ("1", 0, True): 1, ("3", 0, True): 3, ("a", 0, True): 4,
    }  # fmt: skip
    assert [[each[0] for each in database.newest(1000, 1)[0]], database.newest(None, 9)[1]] == [[2], 0]
    database.close()


def test_what_the_rule_does_not_keep_is_removed_and_what_runs_stays(tmp_path: Path) -> None:
    database = JobDatabase(str(tmp_path / "jobs.db"))
    day = 86_400.0
    old, young = 1 * day, 40 * day
    database.write(Changes([job(1), job(2, ended_s=old), *(job(number, ended_s=young) for number in (3, 4, 5))]))
    database.write(Changes([job(6, uid=7, ended_s=young)]))
    assert database.prune(Keeping(each_user=2, together=100, days=30), 50 * day) == [2, 3]
    assert database.prune(Keeping(each_user=2, together=2, days=30), 50 * day) == [4]
    assert database.numbers() == {1, 5, 6}
    database.close()


def test_numbers_rise_over_the_ends_and_the_crashes_of_masters(tmp_path: Path) -> None:
    keeper = RecordKeeper(str(tmp_path), Keeping())
    first = [keeper.number() for _ in range(2 * NUMBERS)]
    assert first == list(range(1, 2 * NUMBERS + 1))
    keeper.close()
    second = RecordKeeper(str(tmp_path), Keeping())
    assert second.number() == first[-1] + 1
    second._thread.shutdown()
    second._database.close()  # as a crash: nothing is given back
    third = RecordKeeper(str(tmp_path), Keeping())
    assert third.number() > first[-1] + 1
    third.close()


def test_a_job_that_ran_when_its_master_crashed_is_lost_with_it(tmp_path: Path) -> None:
    async def before() -> None:
        keeper = RecordKeeper(str(tmp_path), Keeping())
        half = msgspec.structs.replace(job(1), endings=endings_of({1: Returned(3)}))
        keeper.note(1, lambda: half)
        await keeper.written()
        keeper._thread.shutdown()
        keeper._database.close()

    async def after() -> KeptJob | None:
        keeper = RecordKeeper(str(tmp_path), Keeping(), lambda: 9.0)
        try:
            return await keeper.find(JobName(), 1000, all_users=False)
        finally:
            keeper.close()

    run(before())
    found = run(after())
    assert found is not None
    assert (found.state, found.ended_s, found.status()) == ("lost", 9.0, 125)
    assert found.outcomes() == {0: Lost("the master ended while it ran"), 1: Returned(3)}


def test_any_number_of_jobs_can_wait_for_their_records(tmp_path: Path) -> None:
    async def work() -> None:
        keeper = RecordKeeper(str(tmp_path), Keeping())

        async def noted(number: int) -> None:
            for _ in range(5):
                keeper.note(number, lambda: job(number))
                await keeper.written()

        await asyncio.gather(*(noted(number) for number in range(1, 60)))
        assert len((await keeper.newest(None, 100))[0]) == 59
        keeper.close()

    run(work())


def test_a_master_that_ends_while_a_job_waits_for_its_record_leaves_no_error(tmp_path: Path) -> None:
    """As if a job ends just before the master: its record was written, and a traceback stood in the log."""

    async def work() -> None:
        keeper = RecordKeeper(str(tmp_path), Keeping())
        keeper.note(1, lambda: job(1))
        keeper.note_node(b"nonce", b"node")
        waiting = asyncio.create_task(keeper.written())
        await asyncio.sleep(0)  # it is written now
        keeper.note(2, lambda: job(2))
        keeper.note_node(b"nonce", None)
        keeper.close()
        await waiting
        keeper.note(1, lambda: job(1))
        keeper.note_node(b"other", b"node")
        await keeper.written()

    run(work())


def test_a_disk_that_takes_no_record_is_told_once_and_nothing_is_forgotten(tmp_path: Path) -> None:
    async def work() -> None:
        keeper = RecordKeeper(str(tmp_path), Keeping())
        keeper._database._connection.execute("pragma query_only = on")
        keeper.note(1, lambda: job(1))
        with pytest.raises(GprocError, match="cannot keep job records in"):
            await keeper.written()
        assert keeper.problem is not None
        keeper._database._connection.execute("pragma query_only = off")
        keeper._write()
        await keeper.written()
        assert keeper.problem is None
        assert await keeper.find(JobName(number=1), 1000, all_users=False) == job(1)
        keeper.close()

    run(work())


def test_a_file_that_is_no_database_of_this_gproc_is_named_with_what_to_do(tmp_path: Path) -> None:
    garbage, other, newer, torn = (tmp_path / name for name in ("garbage", "other", "newer", "torn"))
    garbage.write_bytes(b"not a database at all" * 100)
    with sqlite3.connect(other) as connection:
        connection.execute("create table t (x)")
    for path in (newer, torn):
        database = JobDatabase(str(path))
        database.write(Changes([job(number, name=f"job{number}") for number in range(1, 500)]))
        database.close()
    with sqlite3.connect(newer) as connection:
        connection.execute("pragma user_version = 9")
    content = torn.read_bytes()
    torn.write_bytes(content[:8192] + b"\xa5" * 4096 + content[12288:])
    for path, reason in ((garbage, "not a database"), (other, "another program"), (newer, "version is 9"), (torn, "")):
        with pytest.raises(DamagedRecords, match=rf"{reason}.*mv {path} {path}.bad"):
            JobDatabase(str(path))


def test_two_masters_of_a_user_keep_their_records_apart(tmp_path: Path) -> None:
    (first, _), (second, _) = open_state(str(tmp_path)), open_state(str(tmp_path))
    assert (Path(first).name, Path(second).name) == ("jobs", "jobs-1")
    (tmp_path / "jobs-2").mkdir(mode=0o755)
    with pytest.raises(GprocError, match=r"open to other users.*--state"):
        open_state(str(tmp_path))
