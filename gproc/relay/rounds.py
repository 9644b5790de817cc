"""The work of several users, in turn by user: a user with much work waits, and the others do not.

A job with megabytes of environment costs master and node tens of milliseconds each.  One user can have dozens of them
begin at a time (`gproc.service.accounts`), and without turns the job of another user would wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Final

PAUSE_S_MAX: Final = 0.1


class Rounds:
    """Gives turns, one at a time.

    After heavy work the same user's next turn waits as long as that work took.  Meanwhile the event loop reads from its
    connections: the requests of others may be behind megabytes of this user's.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, deque[tuple[asyncio.Future[None], bool]]] = OrderedDict()
        """The waiting tasks by uid; the user whose turn is next comes first."""
        self._granting = False
        self._pausing: asyncio.TimerHandle | None = None
        self._last = -1
        """The uid that had the last turn."""
        self._granted_s = 0.0
        self._is_heavy = False

    async def turn(self, uid: int, *, heavy: bool) -> None:
        """Wait until it is this user's turn.  The caller does its work before it waits for anything else.

        heavy: the work takes longer than that of most jobs.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        if uid not in self._waiting:
            self._waiting[uid] = deque()
            if self._last in self._waiting:
                self._waiting.move_to_end(self._last)
        self._waiting[uid].append((turn, heavy))
        if self._pausing is not None and uid != self._last:
            self._pausing.cancel()
            self._pausing = None
            self._granting = False
        if not self._granting:
            self._granting = True
            loop.call_soon(self._grant)
        await turn

    def take(self, uid: int, *, heavy: bool) -> bool:
        """Take a turn now, if no other task has one or waits for one.  Returns whether the caller has it, as of
        `turn`."""
        if self._granting or self._waiting:
            return False
        self._begin(uid, heavy)
        return True

    def _begin(self, uid: int, heavy: bool) -> None:
        loop = asyncio.get_running_loop()
        self._granting = True
        self._last, self._granted_s, self._is_heavy = uid, loop.time(), heavy
        # This comes after the work of that turn, because its task was woken first.
        loop.call_soon(self._taken)

    def _grant(self) -> None:
        """Give the next turn, and see when it has been taken."""
        self._granting, self._pausing = False, None
        while self._waiting and not self._granting:
            uid, turns = self._waiting.popitem(last=False)
            turn, heavy = turns.popleft()
            if turns:
                self._waiting[uid] = turns
            if not turn.done():  # else its task was cancelled
                turn.set_result(None)
                self._begin(uid, heavy)

    def _taken(self) -> None:
        loop = asyncio.get_running_loop()
        took_s = loop.time() - self._granted_s
        if self._is_heavy and list(self._waiting) in ([], [self._last]):
            self._pausing = loop.call_later(min(took_s, PAUSE_S_MAX), self._grant)
        else:
            self._grant()
