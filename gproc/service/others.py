"""What clients ask of jobs that they name: to look at them, to send them signals, to remove their records."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from gproc.errors import EXIT_GPROC, GprocError, TrustError, UsageError
from gproc.nodespec import NodeSpec, Place, fold
from gproc.policy.rules import PolicyOversight
from gproc.records.record import JobName, KeptJob, is_whole
from gproc.records.spooling import Spools
from gproc.request.spec import Caller
from gproc.service.book import JobBook
from gproc.service.continuing import can_go_on
from gproc.service.departures import Departures
from gproc.service.live import LiveJob
from gproc.service.oversight import Oversight
from gproc.service.registry import with_parents
from gproc.service.stacks import StackInquiries
from gproc.service.views import FIRST_VIEW, JobView, ViewRights, ranks_of
from gproc.wire.job_messages import ActedOn, AskFailed, FailedNodes, KillJob, RemoveJobs, ViewJob
from gproc.wire.messages import Rejected
from gproc.wire.stacks import AskStacks, JobStacks

if TYPE_CHECKING:
    from gproc.service.clients import Client

_DOES: Final[dict[PolicyOversight, str]] = {"see": "see", "output": "see the output of", "kill": "end"}

VIEWS_OF_USER_MAX: Final = 256
"""Jobs that one user looks at at a time.  Each has an open file."""


class NoSuchJob(UsageError):
    """No job of that name, or none that the user may know of."""


class OtherJobs:
    """What one user sees and does; operators may look at and act on the jobs of all (`service.oversight`)."""

    def __init__(
        self,
        book: JobBook,
        spools: Spools,
        departures: Departures,
        live: Mapping[int, LiveJob],
        oversight: Oversight,
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        """settled: waits until what has ended is on the disk."""
        self.inquiries = StackInquiries()
        self._settled = settled
        self._oversight = oversight
        self._book = book
        self._spools = spools
        self._departures = departures
        self._live = live
        self._numbers = itertools.count(FIRST_VIEW)
        self._looking: set[asyncio.Task[None]] = set()

    def view(self, client: Client, caller: Caller, question: ViewJob) -> None:
        """Show a job to a client, or say why not."""
        if client.account.views >= VIEWS_OF_USER_MAX:
            reason = f"you look at {VIEWS_OF_USER_MAX} jobs already, and more are not possible at a time"
            client.refuse(Rejected(question.serial, GprocError.exit_status, reason))
            return
        client.account.views += 1
        task = asyncio.get_running_loop().create_task(self._look(client, caller, question))
        self._looking.add(task)
        client.looking.add(task)
        task.add_done_callback(self._looking.discard)
        task.add_done_callback(client.looking.discard)
        task.add_done_callback(lambda _: client.account.end_view())  # also of a task that never began

    async def _look(self, client: Client, caller: Caller, question: ViewJob) -> None:
        view: JobView | None = None
        try:
            record, live = await self._find_with_life(question.job, caller)
            ranks = _ranks(record, question.nodes)
            if question.output:
                self._check(caller, "output", record)
                self._have_output(record, live, question)
                self._oversight.note("output", caller, record)
            rights = ViewRights(
                types=self._oversight.is_master_of(caller, record.uid),
                signals=lambda signum: self._may_signal(caller, record, signum),
            )
            view = JobView(next(self._numbers), client.link, question, record, live, ranks, self._spools, rights)
            client.views[view.number] = view
            view.open()
            await view.show()
        except GprocError as error:
            client.link.send(Rejected(question.serial, error.exit_status, str(error)))
        finally:
            if view is not None:
                view.close()
                client.views.pop(view.number, None)
        await client.link.drain()  # what was shown counts as a view until it was read

    def _have_output(self, record: KeptJob, live: LiveJob | None, question: ViewJob) -> None:
        """Raises: GprocError if there is none to show."""
        if question.start:
            if not (record.spooled if live is None else live.job.spooled):
                raise GprocError(
                    f"job {record.number} kept no output: its client has it; what a job writes is kept with --spool, "
                    "--detach or --on-disconnect=detach, or once its client has left it"
                )
        elif live is not None and live.job.request.action == "map" and live.job.tasks is None:
            raise GprocError(f"job {record.number} runs tasks of a list: gproc map alone shows what they write")
        elif live is not None:
            self._departures.keep_output(live)

    def _check(self, caller: Caller, what: PolicyOversight, record: KeptJob) -> None:
        """Raises: TrustError if a caller who may see a job may do no more with it."""
        if not self._oversight.may_with(caller, what, record.uid):
            raise TrustError(f"the policy does not let you {_DOES[what]} job {record.number}, which is another user's")

    def _may_signal(self, caller: Caller, record: KeptJob, signum: int) -> str:
        """Why a caller may not send a signal to a job; "" if nothing is against it, and then that is noted."""
        try:
            self._check(caller, "kill", record)
        except TrustError as error:
            return str(error)
        self._oversight.note("kill", caller, record, signal=signum)
        return ""

    async def kill(self, question: KillJob, caller: Caller) -> ActedOn:
        """Raises: GprocError."""
        record, live = await self._find_with_life(question.job, caller)
        ranks = _ranks(record, question.nodes)
        if live is None or live.job.over:
            raise GprocError(f"job {record.number} has ended")
        if why := self._may_signal(caller, record, question.signum):
            raise TrustError(why)
        problems: tuple[str, ...] = ()
        if question.nodes:
            if not live.paced.take_one():
                raise GprocError(f"job {record.number} was sent so many signals that this one was not sent: try again")
            live.signal_nodes(question.signum, ranks)
            if missing := NodeSpec.parse(question.nodes).missing(with_parents(record.places)):
                problems = (f"{missing}: job {record.number} has no part there",)
        else:
            live.signal(question.signum)
        if can_go_on(live):
            with contextlib.suppress(GprocError):
                await self._book.keeper.written()  # so that the order outlives the master as the job does
        return ActedOn(question.serial, problems, EXIT_GPROC if problems else 0)

    async def stacks(self, question: AskStacks, caller: Caller) -> JobStacks:
        """Where the processes of a job are.  Raises: GprocError."""
        record, live = await self._find_with_life(question.job, caller)
        ranks = _ranks(record, question.nodes)
        if live is None or live.job.over:
            raise GprocError(f"job {record.number} has ended")
        self._check(caller, "output", record)
        if question.debugger:
            self._check(caller, "kill", record)  # gdb stops what it looks at
        self._oversight.note("kill" if question.debugger else "output", caller, record, stacks=True)
        return await self.inquiries.ask(live, ranks, question)

    async def failed(self, question: AskFailed, caller: Caller) -> FailedNodes:
        """Where a job has failed.  Raises: GprocError."""
        record, live = await self._find_with_life(question.job, caller)
        outcomes = record.outcomes() if live is None else live.job.outcomes
        nodes = fold(record.places[rank] for rank, outcome in outcomes.items() if outcome.status)
        runs = live is not None and not live.job.over
        return FailedNodes(
            question.serial, record.number, nodes, record.missing, record.argv, is_whole(record.argv), runs,
            record.action,
        )

    async def remove(self, question: RemoveJobs, caller: Caller) -> ActedOn:
        """Raises: GprocError if the disk fails."""
        numbers, problems, status = set(), [], 0
        for name in question.jobs:
            try:
                record = await self._find(name, caller)
            except UsageError as error:
                problems.append(str(error))
                status = max(status, error.exit_status)
                continue
            if not self._oversight.is_master_of(caller, record.uid):
                problems.append(f"job {record.number} is another user's: only that user and root remove its record")
            elif record.number in self._live:
                problems.append(f"job {record.number} has not ended: gproc kill {record.number} ends it")
            else:
                numbers.add(record.number)
            status = max(status, EXIT_GPROC if record.number not in numbers else 0)
        if numbers:
            await self._book.keeper.remove(numbers)
        return ActedOn(question.serial, tuple(problems), status)

    async def _find_with_life(self, text: str, caller: Caller) -> tuple[KeptJob, LiveJob | None]:
        """A job's record, and the job itself if it runs.  Raises: as `_find`."""
        record = await self._find(text, caller)
        live = self._live.get(record.number)
        if live is None and record.state == "running":  # it ended while its record was read
            record = await self._find(str(record.number), caller)
        return record, live

    async def _find(self, text: str, caller: Caller) -> KeptJob:
        """Raises: NoSuchJob; UsageError if it is no name; GprocError."""
        name = JobName.parse(text)
        await self._settled()
        record = await self._book.keeper.find(name, caller.uid, all_users=self._oversight.may(caller, "see"))
        if record is None:
            raise NoSuchJob("you have no job yet" if name == JobName() else f"you have no job {name}")
        return record


def _ranks(record: KeptJob, nodes: str) -> list[int]:
    """Raises: UsageError if the job did not run there; SpecError."""
    if not nodes:
        return list(range(len(record.places)))
    spec = NodeSpec.parse(nodes)
    chosen = [Place(path) for path in spec.select(with_parents(record.places))]
    ranks = ranks_of(record.places, chosen)
    if not ranks:
        raise UsageError(f"job {record.number} has no part on {nodes}: it runs on {fold(record.places)[:200]}")
    return ranks
