"""Jobs of a master that has crashed, at the next one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gproc.nodespec import Place
from gproc.records.entries import end_of
from gproc.records.inputs import InputFiles
from gproc.records.keeper import RecordKeeper
from gproc.records.positions import FoundSpool
from gproc.records.present import KeptLife, KeptRun
from gproc.records.record import JobName, Keeping
from gproc.records.spool import SpoolBounds, SpoolEnd, SpoolFiles
from gproc.records.spooling import Spools
from gproc.relay.receipt import RunOfNode
from gproc.request.outcome import Killed, Lost, NotStarted, Outcome, Returned, Signalled, TimedOut
from gproc.request.spec import Caller, Request
from gproc.service.continuing import Interrupted, add_ends, fill, interrupted_jobs
from gproc.service.jobs import JobRecord, JobTable
from gproc.service.live import LiveJob
from gproc.service.running import RunningJobs
from gproc.service.service import JobService
from gproc.trust.orders import SignedJob
from gproc.wire.messages import Signed
from tests.loop import run
from tests.records.test_records import job


@pytest.mark.parametrize(
    ("outcome", "given_up"),
    [
        (Lost("gone"), True),
        (NotStarted("too many have failed"), True),
        (Killed(9, started=False), True),
        (Killed(9, started=True), False),
        (TimedOut(1.0, None), True),
        (TimedOut(1.0, Signalled(15)), False),
        (Returned(0), False),
    ],
)
def test_a_node_of_which_it_was_said_that_nothing_runs_there_is_not_sent_the_job_again(
    outcome: Outcome, given_up: bool
) -> None:
    job = JobRecord(1, Caller(0, 0, ()), Request(nodes="1-2", argv=(b"x",)), [Place((1,)), Place((2,))], 0.0)
    job.finish(0, outcome)
    runs = [RunOfNode(b"0", b""), RunOfNode(b"1", b"")]
    signer: Any = SimpleNamespace()
    live = LiveJob(job, runs, SignedJob(Signed(b"", b""), signer), None, lambda _: None)
    life = SimpleNamespace(block_bytes=1, window_bytes=1, orders=())
    interrupted: Any = SimpleNamespace(found=FoundSpool(), life=life)
    fill(live, interrupted)
    assert (0 in live.unreached.given_up) is given_up


def test_an_end_that_a_full_disk_kept_out_of_the_spool_stands_there_after_the_crash() -> None:
    told: list[tuple[int, Outcome, tuple[int, int]]] = []
    job = JobRecord(1, Caller(0, 0, ()), Request(nodes="1-2", argv=(b"x",)), [Place((1,)), Place((2,))], 0.0)
    found = FoundSpool()
    found.add(end_of(0, Returned(0), (0, 0), 0.0))
    for rank, outcome in ((0, Returned(0)), (1, NotStarted("too many have failed"))):
        job.finish(rank, outcome)
    live: Any = SimpleNamespace(job=job, spool=SimpleNamespace(finish=lambda *end: told.append(end)))
    add_ends(live, cast(Any, SimpleNamespace(found=found)))
    assert told == [(1, NotStarted("too many have failed"), (0, 0))]


def at_the_next_master(
    fanout: int | None, max_fail: int | None, outcomes: Sequence[Outcome], runs: Sequence[KeptRun | None],
    waiting: tuple[int, ...] = (),
) -> tuple[LiveJob, list[LiveJob]]:  # fmt: skip
    """A job that goes on there, and each time that it has ended."""
    request = Request(nodes="1-3", argv=(b"x",), fanout=fanout, max_fail=max_fail)
    places = tuple(Place((id,)) for id in (1, 2, 3))
    record: Any = SimpleNamespace(
        number=1, places=places, started_s=0.0, nodes="1-3", missing="", name="",
        outcomes=lambda: dict(enumerate(outcomes)),
    )  # fmt: skip
    life = KeptLife(Signed(b"", b""), tuple(runs), (), False, 1, 1, waiting)
    ticket: Any = SimpleNamespace(caller=Caller(0, 0, ()), request=request)
    service = JobService.__new__(JobService)
    signed, ended = SignedJob(Signed(b"", b""), cast(Any, SimpleNamespace())), list[LiveJob]()
    service._master = cast(Any, SimpleNamespace(sign_again_for=lambda *_: signed, pass_on=lambda *_: None))
    service._table, service._live = JobTable(), RunningJobs()
    service._book = cast(Any, SimpleNamespace(note=lambda live: None))
    service._turns = cast(Any, SimpleNamespace(have_room=lambda live: None))
    service._departures = cast(Any, SimpleNamespace(go_on=lambda live: None))
    service._spools = Spools(cast(Any, None), cast(Any, None))
    service._spools._wake = lambda: None  # type: ignore[method-assign]
    service.ways = cast(Any, SimpleNamespace(run_of=lambda *_: None))
    service._finish = lambda live: ended.append(live)  # type: ignore[method-assign]
    return service.go_on(Interrupted(record, life, ticket, FoundSpool(), SpoolEnd())), ended


NODE = KeptRun(b"n" * 16, b"k")


def test_a_node_that_had_left_when_its_job_began_does_not_keep_it_for_ever_after_a_crash() -> None:
    """If the master crashed before that was on the disk, no node said it again, and the job never ended."""
    live, ended = at_the_next_master(None, None, [Returned(0)], [NODE, NODE, None])
    assert live.job.outcomes == {0: Returned(0), 2: Lost("it left before the job began")}
    assert ended == []


def test_a_job_of_which_too_many_nodes_had_failed_ends_once_after_a_crash() -> None:
    """It ended twice, and the second time was an error."""
    live, ended = at_the_next_master(1, 1, [Returned(1)], [NODE, NODE, NODE], (1, 2))
    assert [type(live.job.outcomes[rank]) for rank in (1, 2)] == [NotStarted, NotStarted]
    assert ended == [live]


@pytest.mark.parametrize("life", [b"no life", b""], ids=["cannot be read", "no input"])
def test_nothing_is_kept_of_the_input_of_a_job_that_is_recorded_as_lost(tmp_path: Path, life: bytes) -> None:
    """The mark that its input was not kept stayed until one more master began, if there was one."""

    async def before() -> None:
        keeper = RecordKeeper(str(tmp_path), Keeping())
        keeper.note(1, lambda: job(1), lambda: b"no life")
        await keeper.written()
        keeper._thread.shutdown()
        keeper._database.close()  # as a crash

    async def afterwards() -> None:
        keeper = RecordKeeper(str(tmp_path), Keeping(), goes_on=True)
        inputs = InputFiles(str(tmp_path / "input"))
        if not life:
            inputs.give_up(1)
        assert [record.number for record, _ in keeper.interrupted] == [1]
        assert interrupted_jobs(keeper, SpoolFiles(str(tmp_path / "spool"), SpoolBounds()), inputs) == []
        assert os.listdir(inputs.place) == []
        lost = await keeper.find(JobName(number=1), 1000, all_users=False)
        assert lost is not None and lost.state != "running"
        keeper.close()

    run(before())
    run(afterwards())
