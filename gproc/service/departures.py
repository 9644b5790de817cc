"""Clients that leave jobs which go on: the master sees to it that such a job has all that it needs."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Protocol

from gproc.errors import GprocError, UsageError
from gproc.records.record import checked_name
from gproc.records.spooling import Spools
from gproc.request.spec import BundleName, Caller
from gproc.service.book import JobBook
from gproc.service.continuing import may_outlive
from gproc.service.jobs import JobRecord
from gproc.service.live import LiveJob
from gproc.store.root import Root
from gproc.wire.job_messages import Detached, Keep, NotKept

if TYPE_CHECKING:
    from gproc.service.clients import Client

log = logging.getLogger("gproc")


def check_keep(keep: Keep, caller: Caller, jobs: Iterable[JobRecord], book: JobBook) -> None:
    """Raises: UsageError for a name that is none or in use; GprocError if a job cannot be kept now."""
    if keep.name:
        name = checked_name(keep.name)
        for job in jobs:
            if job.name == name and job.caller.uid == caller.uid and not job.over:
                raise UsageError(f"your job {job.number} has the name {name} and runs: choose another name")
    if (keep.detach or keep.survive) and book.keeper.problem is not None:
        raise book.keeper.problem


class BundleKeeper(Protocol):
    """What this needs of the master."""

    async def keep_bundle(self, bundle: bytes) -> Root:
        """Fetch all of a bundle, so that no client need be there for it.  It is held: the caller releases it.

        Raises: StoreError.
        """


class Departures:
    def __init__(self, master: BundleKeeper, book: JobBook, spools: Spools) -> None:
        self._master = master
        self._book = book
        self._spools = spools
        self._roots: dict[LiveJob, Root] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving: set[LiveJob] = set()
        """Jobs whose clients wait until they can leave them."""

    def began(self, client: Client, live: LiveJob, keep: Keep) -> None:
        """A job has begun, and nothing of it was sent yet."""
        live.survives = keep.survive
        if keep.detach or keep.survive or keep.spool:
            self.keep_output(live)
        if keep.detach or keep.survive:
            self.keep_input(live)
        if keep.detach:
            live.detach()
            self.leave(client, live)
        elif keep.survive:
            self._spawn(self._survive_or_say(client, live))

    def keep_output(self, live: LiveJob) -> None:
        """Keep the job's output from now on."""
        if live.spool is None:
            live.keep_output(self._spools.open_job(live.job.number, live.job.caller.uid))

    def keep_input(self, live: LiveJob) -> None:
        """Put the job's standard input on the disk before it is sent, from now on."""
        if live.job.request.stdin and live.input_log is None and may_outlive(live.job.request):
            live.log_input(self._book.input_log(live))

    def go_on(self, live: LiveJob) -> None:
        """A job of a master that has crashed: hold its bundle again, if it is still here."""
        if live.job.request.bundle is not None:
            self._spawn(self._hold(live, live.job.request.bundle))

    def leave(self, client: Client, live: LiveJob) -> None:
        """The client wants to leave the job.  To say so again changes nothing."""
        if live not in self._leaving:
            self._leaving.add(live)
            self._spawn(self._let_go(client, live))

    def lost(self, live: LiveJob) -> None:
        """Its client is gone, unasked: the job goes on, or is ended."""
        number = live.job.number
        if live.survives and live.has_all:
            log.info("job %d: its client is gone, and it goes on", number)
            live.detach()
            self._book.note(live)
            return
        because = ", before all that it needs was here" if live.survives or live.job.detached else ""
        log.info("job %d: its client is gone%s", number, because)
        self._end(live)

    def ended(self, live: LiveJob) -> None:
        if (root := self._roots.pop(live, None)) is not None:
            root.release()

    async def _let_go(self, client: Client, live: LiveJob) -> None:
        number = live.job.number
        try:
            await self._secure(live)
            await live.all_is_here()
            if client.link.lost or live.job.over:
                return  # the client has heard all ends, and a spool would never end
            self.keep_output(live)
            self.keep_input(live)
            live.detach()
            await self._all_is_kept(live)
            self._book.note(live)
            await self._book.keeper.written()
        except GprocError as error:
            log.info("job %d: is ended, because its client cannot leave it: %s", number, error)
            reason = str(error) or type(error).__name__
            client.link.send(Detached(number, reason))
            self._end(live, reason)
            return
        finally:
            self._leaving.discard(live)
        client.jobs.pop(number, None)
        client.link.send(Detached(number))
        live.let_go()

    async def _all_is_kept(self, live: LiveJob) -> None:
        """Wait until the output that nodes were told to drop, and the input that they may lack, is on the disk.

        Before that, the job must not count as one that goes on."""
        if not may_outlive(live.job.request):
            return
        assert live.spool is not None
        await live.spool.wrote_until(lambda: live.received.is_kept or live.job.over)
        if live.input_log is not None:
            await live.input_log.begun.wait()

    async def _survive(self, live: LiveJob) -> None:
        """Have all that it needs to go on without its client, and without this master.  Raises: GprocError."""
        await self._secure(live)
        self._book.note(live)
        await self._book.keeper.written()

    async def _survive_or_say(self, client: Client, live: LiveJob) -> None:
        try:
            await self._survive(live)
        except GprocError as error:
            if live.job.over or client.link.lost:
                return
            ends = "if its client or this master dies, it may end" if live.has_all else "if its client dies, it ends"
            client.link.send(NotKept(live.job.number, f"{ends}: {error}"))

    async def _secure(self, live: LiveJob) -> None:
        """Have all that the job needs.  Raises: StoreError."""
        if live.has_all:
            return
        assert live.job.request.bundle is not None
        await self._hold(live, live.job.request.bundle)
        live.has_all = True
        self._book.note(live)  # from now on it can outlive the master too

    async def _hold(self, live: LiveJob, bundle: BundleName) -> None:
        """Have all of its bundle, and keep it while the job runs.  Raises: GprocError."""
        root = await self._master.keep_bundle(bundle.digest)
        if live in self._roots or live.job.over:
            root.release()
        else:
            self._roots[live] = root

    def _end(self, live: LiveJob, failure: str = "") -> None:
        if not live.job.over:
            live.abandon(failure)
            live.signal(signal.SIGKILL)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), GprocError):
            log.debug("a program could not be kept: %s", error)
