"""Answers about stacks on their way up: those that come together go on as one message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from gproc.relay.stack_merge import StackMerge
from gproc.wire.stacks import StacksShown

if TYPE_CHECKING:
    from gproc.relay.neighbours import Downstream
    from gproc.relay.relayed_job import RelayedJob

TOGETHER_S: Final = 0.03
"""An answer waits so long for others.  Three levels cost a tenth of a second."""

WAITING_MAX: Final = 64
"""Inquiries whose answers wait here.  The answers to more go on at once."""


class StackRelay:
    """One relay's.  jobs: those that are here.  pass_on: sends an answer up."""

    def __init__(
        self, jobs: Mapping[int, RelayedJob], pass_on: Callable[[RelayedJob, StacksShown], None]
    ) -> None:
        self._jobs = jobs
        self._pass_on = pass_on
        self._waiting: dict[tuple[int, int], StackMerge] = {}

    def take(self, downstream: Downstream, shown: StacksShown) -> None:
        """What a downstream says of its own ranks; what it says of others is dropped."""
        relayed = self._jobs.get(shown.job)
        if relayed is None:
            return
        key = shown.job, shown.inquiry
        merge = self._waiting.get(key)
        if merge is None:
            merge = StackMerge(*key)
            if len(self._waiting) < WAITING_MAX:
                self._waiting[key] = merge
                asyncio.get_running_loop().call_later(TOGETHER_S, self._send, key)
        merge.add(shown, relayed.ranks_of(downstream))
        if key not in self._waiting:
            self._pass_on(relayed, merge.shown())

    def _send(self, key: tuple[int, int]) -> None:
        merge = self._waiting.pop(key)
        if (relayed := self._jobs.get(key[0])) is not None and merge.ranks:
            self._pass_on(relayed, merge.shown())
