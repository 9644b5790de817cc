"""Fetches the bundles of jobs to this node, and reports their progress."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gproc.errors import GprocError
from gproc.link.connection import Link
from gproc.request.spec import BundleName
from gproc.spread.fetching import BundleFetcher
from gproc.spread.monitor import REPORT_S as STRIPES_REPORT_S
from gproc.spread.peers import PeerSources
from gproc.spread.scheduling import STRIPES
from gproc.store.partial import Owner
from gproc.store.root import Root
from gproc.trust.ticket import Ticket
from gproc.wire.messages import Run, SetSources, StripeProgress

if TYPE_CHECKING:
    from gproc.trust.endpoint import Endpoint

log = logging.getLogger("gproc")

REPORT_S: Final = 0.5
"""Seconds between two progress reports of a node."""


class Staging:
    """What one slave fetches for its jobs."""

    def __init__(self, fetcher: BundleFetcher, own: Owner, endpoint: Endpoint, link_timeout_s: float) -> None:
        """own: this process's user.  endpoint: for connections to peers."""
        self._fetcher = fetcher
        self._own = own
        self._endpoint = endpoint
        self._link_timeout_s = link_timeout_s
        self._fetching: dict[int, tuple[PeerSources, asyncio.Task[None]]] = {}

    def fetch_from_peers(self, link: Link, ticket: Ticket, run: Run) -> None:
        """Fetch a large bundle from the sources of `run`, even if no program runs here: peers fetch it from this node.

        link: to the parent, which gets the progress reports.
        """
        bundle = ticket.request.bundle
        if bundle is None:
            return
        sources = PeerSources(self._fetcher, self._endpoint, run.ticket, run.sources, self._link_timeout_s)
        task = asyncio.create_task(self._fetch(link, ticket, bundle, sources))
        self._fetching[run.job] = (sources, task)
        task.add_done_callback(lambda _: self._fetched(run.job, sources))

    def _fetched(self, job: int, sources: PeerSources) -> None:
        if job in self._fetching and self._fetching[job][0] is sources:  # the job may have come once more
            del self._fetching[job]

    def set_sources(self, message: SetSources) -> None:
        if message.job in self._fetching:
            self._fetching[message.job][0].change(message.sources)

    async def root(self, ticket: Ticket, tell: Callable[[int, bool], None]) -> Root | None:
        """The job's bundle, complete and verified, and held for the caller; None if the job has none.

        tell: called with a large one's progress.  Raises: StoreError.
        """
        bundle = ticket.request.bundle
        if bundle is None:
            return None
        owner = self._owner(ticket)
        if not bundle.is_broadcast:
            return await self._fetcher.root(bundle.digest, owner)
        reporting = asyncio.create_task(self._report(bundle, tell))
        try:
            root = await self._fetcher.root(bundle.digest, owner)
        finally:
            reporting.cancel()
        tell(root.size_bytes, True)
        return root

    async def _fetch(self, link: Link, ticket: Ticket, bundle: BundleName, sources: PeerSources) -> None:
        reporting = asyncio.create_task(self._report_stripes(link, ticket.job, bundle, sources.needed))
        try:
            (await self._fetcher.root(bundle.digest, self._owner(ticket), sources)).release()
            link.send(StripeProgress(ticket.job, (0,) * STRIPES))
        except GprocError as error:
            log.info("job %d: %s", ticket.job, error)
        finally:
            reporting.cancel()
            sources.close()

    async def _report_stripes(self, link: Link, job: int, bundle: BundleName, needed: asyncio.Event) -> None:
        """Report progress to the parent, which finds slow children by it: `spread.monitor`."""
        await needed.wait()
        while True:
            if missing_bytes := self._fetcher.missing_bytes(bundle.digest):
                link.send(StripeProgress(job, tuple(missing_bytes)))
            await asyncio.sleep(STRIPES_REPORT_S)

    async def _report(self, bundle: BundleName, tell: Callable[[int, bool], None]) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            tell(self._fetcher.received_bytes(bundle.digest), False)

    def _owner(self, ticket: Ticket) -> Owner:
        return Owner(ticket.caller.uid, ticket.caller.gid) if os.geteuid() == 0 else self._own
