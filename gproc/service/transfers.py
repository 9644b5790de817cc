"""How far the bytes of a job are: what its nodes have of a large bundle, or have sent of their files.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gproc.request.spec import Request
from gproc.wire.job_messages import JobTransfer
from gproc.wire.messages import Message, StageProgress

if TYPE_CHECKING:
    from collections.abc import Container, Sequence


class StagedBytes:
    """What nodes have of a bundle, by rank."""

    def __init__(self) -> None:
        self._received: dict[int, int] = {}
        self._complete: set[int] = set()

    def note(self, message: Message) -> None:
        """What a node has said: of its bundle, or of something else."""
        if isinstance(message, StageProgress):
            self._received[message.rank] = message.received_bytes
            if message.complete:
                self._complete.add(message.rank)

    def transfer(
        self, request: Request, ranks: Sequence[int], ended: Container[int], collected_bytes: int
    ) -> JobTransfer | None:
        """What is on its way; None: nothing large.

        ranks: those that have begun.  ended: those that have ended.  collected_bytes: what they have sent of files.
        """
        nodes = len(ranks)
        over = sum(rank in ended for rank in ranks)
        if request.action == "collect":
            return JobTransfer("get", nodes, over, collected_bytes) if over < nodes else None
        bundle = request.bundle
        if bundle is None or not bundle.is_broadcast:
            return None
        has_all = {rank for rank in ranks if rank in self._complete or rank in ended}
        if len(has_all) == nodes:
            return None
        have = len(has_all) * bundle.size_bytes
        have += sum(min(size, bundle.size_bytes) for rank, size in self._received.items() if rank not in has_all)
        kind = "cp" if request.action == "place" else "program"
        return JobTransfer(kind, nodes, len(has_all), have, nodes * bundle.size_bytes)
