"""The parent as the source of this node's bundles: it gives the bundle of each job that it has sent, and no other."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from gproc.errors import StoreError
from gproc.wire.messages import Want

if TYPE_CHECKING:
    from gproc.link.connection import Link
    from gproc.node.uplink import Uplink
    from gproc.relay.relayed_job import RelayedJob
    from gproc.request.spec import Request
    from gproc.spread.fetching import BundleFetcher
    from gproc.spread.transfer import Source

log = logging.getLogger("gproc")

NOT_NEEDED: Final = "no job of this node needs the bundle any more"


class ParentSource:
    """Asks the parent for chunks.  A new parent refuses a bundle until it has sent a job with it."""

    def __init__(
        self, fetcher: BundleFetcher, source: Source, uplink: Uplink, jobs: Mapping[int, RelayedJob]
    ) -> None:
        """source: what the fetcher knows as the parent.  jobs: those of this node and of the nodes below."""
        self._fetcher = fetcher
        self._source = source
        self._uplink = uplink
        self._jobs = jobs

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        """Ask the parent, or leave it to `news`.  Raises: StoreError if no job needs the bundle."""
        if not self._is_needed(bundle):
            raise StoreError(NOT_NEEDED)
        control, bulk = self._uplink.control, self._uplink.bulk
        if control is not None and bulk is not None and self._is_given(bundle, control):
            log.debug("bundle %s: the parent is asked for %d chunks", bundle.hex()[:16], len(digests))
            bulk.send(Want(bundle, digests))

    @contextlib.contextmanager
    def news(self, request: Request, control: Link) -> Iterator[None]:
        """Within this, a job of the parent is noted.  If it is its first with a bundle, `ask` is done now."""
        bundle = b"" if request.bundle is None else request.bundle.digest
        is_first = self._fetcher.is_fetching(bundle) and not self._is_given(bundle, control)
        yield
        if is_first:
            self._fetcher.on_source_back(bundle)

    def let_go(self, request: Request) -> None:
        """A job is over here.  If it was the last one with its bundle, the rest of the bundle is not needed."""
        bundle = b"" if request.bundle is None else request.bundle.digest
        if self._fetcher.is_fetching(bundle) and not self._is_needed(bundle):
            self._fetcher.on_unavailable(self._source, bundle, NOT_NEEDED)

    def _is_needed(self, bundle: bytes) -> bool:
        return any(relayed.request.is_of(bundle) for relayed in self._jobs.values())

    def _is_given(self, bundle: bytes, control: Link) -> bool:
        return any(relayed.upstream is control and relayed.request.is_of(bundle) for relayed in self._jobs.values())
