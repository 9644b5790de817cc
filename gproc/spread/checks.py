"""Roots that are verified before they are used: in a thread, if that takes too long for the event loop."""

from __future__ import annotations

import asyncio

from gproc.store.partial import Owner
from gproc.store.store import Store


class Checks:
    """The checks that are going on.  Callers that ask for the same root share one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._going_on: dict[tuple[bytes, Owner], asyncio.Future[None]] = {}

    async def check(self, bundle: bytes, owner: Owner) -> None:
        """Return when the store can judge the root at once."""
        checking = self._going_on.get((bundle, owner))
        if checking is None:
            if not self._store.is_long(bundle, owner):
                return
            checking = asyncio.get_running_loop().run_in_executor(None, self._store.check, bundle, owner)
            self._going_on[bundle, owner] = checking
            checking.add_done_callback(lambda _: self._going_on.pop((bundle, owner)))
        await asyncio.shield(checking)
