"""What each user takes of the master's memory, in bytes: the one place that counts and bounds it."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import Final

import msgspec

from gproc.errors import GprocError
from gproc.link.shift import Shift
from gproc.policy.rules import PolicyLimits
from gproc.request.spec import Request
from gproc.service.job_windows import ROOMY_PART, JobShape, JobWindow, window_of
from gproc.service.window import INPUT_FOR_TURNS_BYTES, TASKS_SPARE_BYTES

INQUIRIES_OF_USER_MAX: Final = 4
"""Answers about the tree that one user gets at a time; the others wait.  With 5,000 nodes an answer is some 5 MB."""

SHOWINGS_OF_USER_MAX: Final = 4
"""Bundles that one user shows the master at a time (`service.possession`): each takes 20 MiB at most.  Others wait."""

JOB_BYTES: Final = 10_000
RANK_BYTES: Final = 400
WORD_BYTES: Final = 60
"""What a job, each of its ranks, and each word of its arguments and environment cost the master beside their text."""

MANIFEST_FACTOR: Final = 4
"""A manifest is kept as text and as a value while its bundle is fetched: 131,000 entries are 7 MB and 31 MB."""


class OverBound(GprocError):
    """A user would have more than may be.  The message is for that user."""


class Bounds(msgspec.Struct, frozen=True):
    """Bytes of the master's memory that one user and all users may take: requests that run, and frames on their way."""

    each_bytes: int = 128 << 20
    all_bytes: int = 512 << 20

    @property
    def spare_bytes(self) -> int:
        """Bytes that a user's lists leave free, because the connection of a client ends if there is no room for its
        next frame."""
        return min(1 << 20, self.each_bytes // 8)


class Account:
    """One user's part."""

    def __init__(self, accounts: Accounts, uid: int, *, bounded: bool) -> None:
        self.uid = uid
        self._bounded = bounded
        self.held_bytes = 0
        self.connections = 0
        self.views = 0
        """Jobs that the user looks at."""
        self.shift = Shift() if bounded else None
        self.inquiries = asyncio.Semaphore(INQUIRIES_OF_USER_MAX)
        self.showings = asyncio.Semaphore(SHOWINGS_OF_USER_MAX)
        self._accounts = accounts

    def end_view(self) -> None:
        self.views -= 1

    def hold(self, size: int, *, spares: bool = False) -> None:
        """spares: leave the user room for frames.  Raises: OverBound, and then nothing is held."""
        bounds = self._accounts.bounds
        if not self._bounded:
            self.held_bytes += size
            return
        needed = size + (bounds.spare_bytes if spares else 0)
        if self.held_bytes + needed > bounds.each_bytes:
            raise OverBound(
                f"your jobs and requests take {self.held_bytes >> 20} MiB of the master's memory, and a user may have "
                f"{bounds.each_bytes >> 20} MiB: {_advice(needed, bounds.each_bytes)}"
            )
        if self._accounts.held_bytes + size > bounds.all_bytes:
            raise OverBound("all users' jobs and requests fill the memory that the master has for them: try later")
        self.held_bytes += size
        self._accounts.held_bytes += size

    def free(self, size: int) -> None:
        self.held_bytes -= size
        if self._bounded:
            self._accounts.held_bytes -= size
        self._accounts.settle(self)


    def hold_window(self, shape: JobShape) -> JobWindow:
        """Hold what the windows of one more job may.  Raises: OverBound, and then nothing is held."""
        if not self._bounded:
            return window_of(shape)._replace(held_bytes=0)
        bounds, accounts = self._accounts.bounds, self._accounts
        own_bytes = bounds.each_bytes // ROOMY_PART - self.held_bytes
        window = window_of(shape, min(own_bytes, bounds.all_bytes // ROOMY_PART - accounts.held_bytes))
        self.hold(window.held_bytes)
        return window


class Accounts:
    """The accounts of the users who are connected, or whose jobs have not ended yet."""

    def __init__(self, bounds: Bounds, trusted: Container[int]) -> None:
        """trusted: users without bounds, who can end the master anyway."""
        self.bounds = bounds
        self._trusted = trusted
        self.held_bytes = 0
        self._accounts: dict[int, Account] = {}

    def open(self, uid: int) -> Account:
        """The account of a user who has one more connection from now on, until `close`."""
        account = self._accounts.setdefault(uid, Account(self, uid, bounded=uid not in self._trusted))
        account.connections += 1
        return account

    def close(self, account: Account) -> None:
        account.connections -= 1
        self.settle(account)

    def settle(self, account: Account) -> None:
        """Forget an account that has nothing in it."""
        if not account.connections and not account.held_bytes:
            self._accounts.pop(account.uid, None)


def _advice(needed_bytes: int, each_bytes: int) -> str:
    """For a user who has no room for so many bytes."""
    needs = f"this needs {-(-needed_bytes >> 20)} MiB more"
    if needed_bytes > each_bytes:
        return f"{needs}, which no user may have"
    return f"{needs}, so wait until some of them have ended"


def bounds_of(limits: PolicyLimits) -> Bounds:
    usual = Bounds()
    each, together = limits.user_memory_mib, limits.all_memory_mib
    return Bounds(
        usual.each_bytes if each is None else each << 20, usual.all_bytes if together is None else together << 20
    )


def cost_bytes(request: Request, ranks: int, manifest_bytes: int = 0) -> int:
    """What a job takes of the master's memory: its request as a value and in its ticket, its ranks, its manifest."""
    words = (*request.argv, *request.env)
    text = sum(map(len, words)) + len(request.nodes) + len(request.exclude)
    kept = INPUT_FOR_TURNS_BYTES if request.stdin and request.fanout is not None and request.fanout < ranks else 0
    kept += TASKS_SPARE_BYTES if request.action == "map" else 0
    return kept + JOB_BYTES + MANIFEST_FACTOR * manifest_bytes + 2 * text + WORD_BYTES * len(words) + RANK_BYTES * ranks
