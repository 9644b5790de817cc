"""A node's lease: until when it may run programs, and what it knows of the master's clock.

A relay can hold back what the master says.  A lease bounds that.  The node sends the master a nonce; the master signs
the nonce together with its clock and the jobs that the node should have.  So the node knows that the master's clock
showed at least that time when the answer came, whatever lies between the two.  A job that the answer does not name has
ended (its client died, say), even if a relay swallowed the order.  A node without a lease runs nothing.

No two machines' clocks are compared: each node counts durations on its own CLOCK_BOOTTIME, which goes on while a
machine is suspended.  `LeaseKeeper` reads no clock: each time is an argument, in seconds.
"""

from __future__ import annotations

import os
import time
from typing import Annotated, Final

import msgspec

from gproc.trust.signing import NONCE_BYTES, Nonce, Sequence, Session

LEASE_S: Final = 60.0
"""The usual time from a question that was answered to the end of its lease (`--orphan-timeout` of the master)."""

QUESTIONS: Final = 4
"""Per lease: three of them may go wrong.  An answer that takes longer than the time between two is worth nothing; a
busy tree of 80 nodes answers within a second."""

ClockMs = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""Milliseconds since the master's session began, on the master's CLOCK_BOOTTIME."""


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """The master's answer to one nonce of one node.

    sequence: the last number that the session had used.  jobs: what may run on the node, of the jobs whose tickets
    have no higher number.
    home_is_there: whether the parent of the node's place is connected: a node that hangs elsewhere goes back there.
    date_s: the master's date, Unix time.  revocations: the number of its list of revoked certificates.
    awaited: the jobs of whose program on the node the master has not heard the end, and would take it at once.
    """

    session: Session
    nonce: Nonce
    sequence: Sequence
    clock_ms: ClockMs
    jobs: tuple[Sequence, ...]
    home_is_there: bool = True
    date_s: float = 0.0
    revocations: Annotated[int, msgspec.Meta(ge=0)] = 0
    awaited: tuple[Sequence, ...] = ()


class LeaseKeeper:
    """One node's lease.  ends_s: when it ends; 0: there is none.  lease_s: how long one lasts, by the master's word."""

    def __init__(self) -> None:
        self.ends_s = 0.0
        self.lease_s = LEASE_S
        self._asked: dict[bytes, float] = {}
        self._lag_s: float | None = None
        """The most by which the master's clock is behind ours: no answer has come faster."""

    @property
    def ask_s(self) -> float:
        """Seconds between two questions."""
        return self.lease_s / QUESTIONS

    def ask(self, nonce: bytes, now_s: float) -> None:
        """This nonce is sent to the master now.  Questions whose answer would come too late are forgotten."""
        self._asked = {asked: at_s for asked, at_s in self._asked.items() if now_s - at_s <= self.ask_s}
        self._asked[nonce] = now_s

    def ask_anew(self, now_s: float) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        self.ask(nonce, now_s)
        return nonce

    def answered(self, nonce: bytes, clock_ms: int, now_s: float) -> bool:
        """The master has signed this nonce and its clock.  Returns whether the lease is longer now."""
        asked_s = self._asked.pop(nonce, None)
        if asked_s is None or now_s - asked_s > self.ask_s:
            return False
        self.ends_s = max(self.ends_s, asked_s + self.lease_s)
        lag_s = now_s - clock_ms / 1000
        self._lag_s = lag_s if self._lag_s is None else min(self._lag_s, lag_s)
        return True

    def holds(self, now_s: float) -> bool:
        return now_s < self.ends_s

    def clock_ms(self, now_s: float) -> int:
        """What the master's clock shows at least; 0 before the first answer."""
        return 0 if self._lag_s is None else int((now_s - self._lag_s) * 1000)

    def end(self) -> None:
        """There is another master: what is known of the former master's clock has no meaning."""
        self.ends_s = 0.0
        self._lag_s = None


def boottime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
