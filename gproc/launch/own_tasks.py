"""The slave's own tasks (`gproc cp`, `gproc get`), which run in Python.

The first of them starts a launcher process for all, which stays for a while.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gproc.errors import LaunchError
from gproc.launch.launcher import Process
from gproc.launch.protocol import JobEnd, Start
from gproc.root.abilities import Abilities

if TYPE_CHECKING:
    import asyncio

    from gproc.launch.forked import ForkedLauncher

_LINGER_S: Final = 60.0
"""Seconds for which the process for our own tasks stays after the last task.  A new one takes 0.1 s to start."""


class OwnTasks:
    """abilities: what this node allows, as the helper found it."""

    def __init__(self, abilities: Abilities) -> None:
        self._abilities = abilities
        self._loop: asyncio.AbstractEventLoop | None = None
        self._launcher: ForkedLauncher | None = None
        self._lingering: asyncio.TimerHandle | None = None

    @property
    def child(self) -> int:
        """The launcher's pid as a child of this process; 0 if there is none."""
        return 0 if self._launcher is None else self._launcher.child

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def spawn(self, start: Start, stdio: tuple[int, int, int], on_exit: Callable[[JobEnd], None]) -> Process:
        """As `Launcher.spawn`: the descriptors are taken over in any case.  Raises: LaunchError, OSError."""
        try:
            launcher = self._running()
        except BaseException:
            for handle in stdio:
                os.close(handle)
            raise

        def ended(ending: JobEnd) -> None:
            if launcher is self._launcher and launcher.idle and not launcher.lost:
                self._linger()
            on_exit(ending)

        return launcher.spawn(start, *stdio, ended)

    async def first_process(self, number: int) -> int:
        return 0 if self._launcher is None else await self._launcher.first_process(number)

    def close(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        self._drop()

    def _running(self) -> ForkedLauncher:
        """The launcher, started if there is none.  Raises: LaunchError, OSError."""
        assert self._loop is not None, "attach first"
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._launcher is None or self._launcher.lost:
            self._drop()
            try:
                self._launcher = self._started()
            except OSError as error:
                raise LaunchError(f"cannot start a process for gproc's own tasks: {error.strerror}") from error
            self._launcher.attach(self._loop)
        return self._launcher

    def _started(self) -> ForkedLauncher:
        from gproc.launch.forked import ForkedLauncher

        try:
            return ForkedLauncher.executed(self._abilities)
        except PermissionError:
            if os.geteuid() == 0:
                raise
            # This user cannot read the interpreter.  The tasks are the same user's, who may read our memory anyway.
            return ForkedLauncher.forked(private=self._abilities.view)

    def _linger(self) -> None:
        assert self._loop is not None
        if self._lingering is not None:
            self._lingering.cancel()
        self._lingering = self._loop.call_later(_LINGER_S, self._drop)

    def _drop(self) -> None:
        """The launcher is dead or not needed.  The next task starts another one."""
        launcher, self._launcher = self._launcher, None
        if launcher is not None:
            launcher.close()
