"""The chunks of which a part is here."""

from __future__ import annotations

from collections.abc import Iterator

from gproc.spread.incoming import IncomingChunk
from gproc.spread.transfer import Source


class Arrivals:
    """The chunks that arrive, by digest and source, so a slow or lying source does not spoil the chunk of another."""

    def __init__(self) -> None:
        self._arriving: dict[bytes, dict[Source, IncomingChunk]] = {}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._arriving

    def any(self, digest: bytes) -> IncomingChunk | None:
        return next(iter(self._arriving.get(digest, {}).values()), None)

    def of(self, digest: bytes, source: Source, max_bytes: int) -> tuple[IncomingChunk, bool]:
        """The chunk from this source, and whether it begins to arrive now."""
        arrivals = self._arriving.setdefault(digest, {})
        if source in arrivals:
            return arrivals[source], False
        arrivals[source] = IncomingChunk(digest, max_bytes)
        return arrivals[source], True

    def filled(self) -> Iterator[tuple[bytes, int]]:
        """How many bytes of each chunk are here, from the source that has sent most of it."""
        for digest, arrivals in self._arriving.items():
            yield digest, max(arrival.filled for arrival in arrivals.values())

    def forget(self, digest: bytes, source: Source | None) -> None:
        """End the arrival of a chunk from one source; None: from all, as the chunk is here or the transfer ended."""
        arrivals = self._arriving.pop(digest, {})
        ended = list(arrivals) if source is None else [source]
        for each in ended:
            if (arrival := arrivals.pop(each, None)) is not None:
                arrival.finish()
        if arrivals:
            self._arriving[digest] = arrivals

    def forget_source(self, source: Source) -> None:
        for digest in [digest for digest, arrivals in self._arriving.items() if source in arrivals]:
            self.forget(digest, source)
