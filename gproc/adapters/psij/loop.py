"""Two threads behind an executor: an event loop that runs jobs, and one that tells of them.

Callbacks of users are called in a thread of their own, because they may call the executor, which waits for the loop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """Both threads end with the process, and with it its jobs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._loop.run_forever, name="gproc jobs", daemon=True).start()
        threading.Thread(target=self._tell, name="gproc callbacks", daemon=True).start()

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop and wait for its result.  Raises: what it raises."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def soon(self, call: Callable[[], None]) -> None:
        """Call it on the loop."""
        self._loop.call_soon_threadsafe(call)

    def tell(self, call: Callable[[], None]) -> None:
        """Call it in the thread of callbacks, after all that came before."""
        self._calls.put(call)

    def _tell(self) -> None:
        while True:
            self._calls.get()()


@cache
def background() -> Background:
    """The threads of this process, which are started when they are first needed."""
    return Background()
