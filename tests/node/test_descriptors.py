"""A node keeps no descriptor of a program that could not be started, and closes none twice."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import pytest

from gproc import interpreter
from gproc.errors import LaunchError
from gproc.launch.own_tasks import OwnTasks
from gproc.launch.protocol import ProgramEnded, Start
from gproc.node import program as program_module
from gproc.node import stdio
from gproc.node.program import Program
from gproc.node.services import LocalServices
from gproc.node.tasks import TaskHost
from gproc.relay.delivery import KEPT_BYTES
from gproc.request.outcome import NotStarted, Outcome, Returned
from gproc.request.spec import Caller, Request, TerminalSize
from gproc.root.abilities import Abilities
from gproc.root.planner import Planner
from gproc.root.view import View
from gproc.trust.orders import JobInput, JobOrders, JobWords
from gproc.trust.outcomes import SignedEnd
from gproc.trust.signing import SESSION_BYTES, Signer
from gproc.trust.ticket import Ticket
from gproc.wire.branch import Branch
from gproc.wire.endings import RankEnded
from gproc.wire.messages import Run, Signed
from gproc.wire.tasks import Assign, Setup, TaskEnded, TaskOrder, TaskReport, TaskReportReader, order_record

PLAIN = Abilities(view=False, overlay=False, root=False, reason="the test wants none")

CALLER = Caller(os.getuid(), os.getgid(), ())


def elsewhere(action: Literal["run", "map"]) -> Ticket:
    """A job whose bundle shall lie where this node cannot put it, so its view cannot be planned."""
    request = Request(nodes="1", argv=(b"/bin/true",), action=action, stdin=True, bin_root=b"/elsewhere")
    return Ticket(session=bytes(SESSION_BYTES), sequence=1, job=1, start_by_ms=1, caller=CALLER, request=request)


class ServicesWithoutStore(LocalServices):
    """The product's, of a node that fetches nothing; and what programs say of themselves."""

    def __init__(self, bin_root: Path) -> None:
        nothing = cast(Any, None)
        super().__init__(nothing, nothing, Planner(PLAIN, os.fsencode(bin_root)), lambda: cast(Any, (1,)), nothing)
        self.outcomes: list[Outcome] = []

    async def root(self, ticket: Ticket, tell: Callable[[int, bool], None]) -> None:
        """The node's own program runs."""

    def sign(self, end: SignedEnd) -> Signed:
        self.outcomes.append(end.outcome)
        return Signed(b"", b"")

    def finished(self, below: Program, ended: RankEnded) -> None:
        """The relayed job gets it."""


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"), key=int)


def is_open(descriptor: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{descriptor}")


def test_a_program_whose_view_cannot_be_planned_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three stayed with each, and its ends were closed twice, the second time in the hands of another thread."""
    refused: list[int] = []
    close = os.close

    def watched(descriptor: int) -> None:
        try:
            close(descriptor)
        except OSError:
            refused.append(descriptor)
            raise

    async def run() -> list[Outcome]:
        services = ServicesWithoutStore(tmp_path)
        ticket = elsewhere("run")
        key = Signer(bytes(32)).public_key
        words = JobWords(JobInput(key, ticket.session, 1), JobOrders(key, ticket.session, 1, b"n" * 16))

        async def admitted() -> None:
            """Everything may run."""

        over = asyncio.Event()
        program = Program(services, cast(Any, services), ticket, words, admitted, lambda _: over.set())
        program.start(Run(1, 1, Signed(b"", b""), Branch(0, {}), 1 << 16))
        await over.wait()
        return services.outcomes

    async def both() -> tuple[list[Outcome], list[str], list[str]]:
        await run()
        before = descriptors()
        monkeypatch.setattr(os, "close", watched)
        return await run(), before, descriptors()

    outcomes, before, after = asyncio.run(both())
    assert [type(outcome) for outcome in outcomes] == [NotStarted]
    assert after == before
    assert refused == []


def test_tasks_whose_view_cannot_be_planned_leave_no_descriptor(tmp_path: Path) -> None:
    """Any user could use up those of a node: three stayed with each task, until nobody's job began there."""
    tasks = 20

    async def run() -> tuple[int, list[str], list[str]]:
        said: list[TaskReport] = []
        reader, over = TaskReportReader(), asyncio.Event()

        def say(data: bytes) -> None:
            said.extend(reader.feed(data))
            if sum(isinstance(report, TaskEnded) for report in said) == tasks:
                over.set()

        host = TaskHost(
            ServicesWithoutStore(tmp_path), elsewhere("map"), None, (), 0, keep_bytes=KEPT_BYTES, say=say,
            consumed=lambda size: None, ended=lambda ending: None,
        )  # fmt: skip
        host.write(order_record(Setup(slots=1)))
        before = descriptors()
        host.write(order_record(Assign(tuple(TaskOrder(number, ()) for number in range(tasks)))))
        await over.wait()
        return len(said), before, descriptors()

    _, before, after = asyncio.run(run())
    assert after == before


def test_an_own_task_for_which_no_process_can_be_started_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "command", lambda: ["/nowhere/python3"])

    async def run() -> tuple[list[str], list[str]]:
        tasks = OwnTasks(PLAIN)
        tasks.attach(asyncio.get_running_loop())
        start = Start(1, Request(nodes="1", argv=(b"cp",)), CALLER, (), View("plain", (), b"", b"/"))
        before = descriptors()
        stdio = (os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY), os.open(os.devnull, os.O_WRONLY))
        with pytest.raises(LaunchError, match="gproc's own tasks"):
            tasks.spawn(start, stdio, lambda end: None)
        return before, descriptors()

    before, after = asyncio.run(run())
    assert after == before


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_a_terminal_that_cannot_be_made_whole_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    """The first of its copies stayed if there was no descriptor for the second."""
    duplicate, made = os.dup, [copies]

    def scarce(descriptor: int) -> int:
        if not made[0]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        made[0] -= 1
        return duplicate(descriptor)

    before = descriptors()
    monkeypatch.setattr(os, "dup", scarce)
    with pytest.raises(OSError, match="Too many open files"):
        stdio.open_terminal(TerminalSize(24, 80), os.getuid())
    assert descriptors() == before


def test_a_job_whose_files_need_a_descriptor_more_than_there_is_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never did, and the handle of its directory stayed."""

    def scarce(*, reader_is_ours: bool) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    class BusyServices(ServicesWithoutStore):
        async def root(self, ticket: Ticket, tell: Callable[[int, bool], None]) -> None:
            await asyncio.Event().wait()

        def output(self, *said: object) -> None:
            """Its relayed job passes it on."""

    async def run() -> tuple[list[Outcome], bool]:
        services = BusyServices(tmp_path)
        request = Request(nodes="1", argv=(b"/bin/true",), collect=(b"*",))
        ticket = msgspec.structs.replace(elsewhere("run"), request=request)
        key = Signer(bytes(32)).public_key
        words = JobWords(JobInput(key, ticket.session, 1), JobOrders(key, ticket.session, 1, b"n" * 16))

        async def admitted() -> None:
            """Everything may run."""

        program = Program(services, cast(Any, services), ticket, words, admitted, lambda _: None)
        program.start(Run(1, 1, Signed(b"", b""), Branch(0, {}), 1 << 16))
        monkeypatch.setattr(program_module, "make_pipe", scarce)
        directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
        before = set(threading.enumerate())
        program._ended(ProgramEnded(1, 0, 0, False, directory))
        for closing in set(threading.enumerate()) - before:
            closing.join()
        return services.outcomes, is_open(directory)

    assert asyncio.run(run()) == ([Returned(0)], False)
