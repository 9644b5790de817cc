"""How long a node keeps a bundle from being removed for receivers that have not taken it yet.

Other processes share the store, and remove unused bundles when there is more than may be kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gproc.store.root import Root

SERVED_S: Final = 10.0
"""Seconds for which a node keeps a bundle after each chunk of it that it sent: the next chunk is asked for by then."""


class Making:
    """A root that is being made.  Its task holds it until all callers that wait for it hold it themselves."""

    def __init__(self, task: asyncio.Task[Root]) -> None:
        self.task = task
        self._waiting = 0
        self._held = True

    async def taken(self) -> Root:
        """The root, held for this caller.  Raises: what the task raises; OSError if it is gone already."""
        self._waiting += 1
        try:
            root = await asyncio.shield(self.task)
            root.hold()
            return root
        finally:
            self._waiting -= 1
            self.settle()

    @property
    def is_awaited(self) -> bool:
        return self._waiting > 0

    def settle(self) -> None:
        """Release the root, if it is made and no caller waits for it."""
        if self._held and self._waiting == 0 and self.task.done():
            self._held = False
            if not self.task.cancelled() and self.task.exception() is None:
                self.task.result().release()


class Served:
    """The bundles that this node is sending to others."""

    def __init__(self) -> None:
        self._until: dict[bytes, tuple[Root, float]] = {}
        """Each one's root, and the loop's time until which it is held."""

    def keep(self, bundle: bytes, find: Callable[[], Root | None]) -> None:
        """A chunk of it goes out now.  find: gives its root."""
        loop = asyncio.get_running_loop()
        held = self._until.get(bundle)
        if held is not None:
            self._until[bundle] = held[0], loop.time() + SERVED_S
            return
        root = find()
        if root is None:
            return
        try:
            root.hold()
        except OSError:
            return  # another process has just removed it, so it is fetched again
        self._until[bundle] = root, loop.time() + SERVED_S
        loop.call_later(SERVED_S, self._review, bundle)

    def _review(self, bundle: bytes) -> None:
        root, until = self._until[bundle]
        loop = asyncio.get_running_loop()
        if loop.time() < until:
            loop.call_later(until - loop.time(), self._review, bundle)
            return
        del self._until[bundle]
        root.release()
