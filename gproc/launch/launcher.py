"""The slave's side: starts programs, sends them signals, and learns how they ended.

A slave calls `Launcher.for_this_node` before anything else, without any thread, event loop or large import, because a
slave without the static helper forks its launcher there: `launch.forked` says why.
"""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gproc.errors import LaunchError
from gproc.launch.protocol import JobEnd, Start
from gproc.root.abilities import Abilities

if TYPE_CHECKING:
    import asyncio  # after the fork: the launcher does without it


END_S: Final = 5.0
"""Seconds for which a slave that ends waits for its jobs.  One that the kernel does not let die must not hold it up."""

HELD: Final = (
    "the kernel holds them, as on a file system that does not answer or in a frozen control group; they are left behind"
)


def _why_no_jobs() -> str:
    """Why this kernel cannot run jobs, as one clause; "" if it can."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return f"its kernel has no pidfd_open(2), which came with Linux 5.3: {error.strerror}"
    return ""


class Process:
    """One job of a Launcher."""

    def __init__(self, launcher: Launcher, number: int) -> None:
        self._launcher = launcher
        self.number = number

    def signal(self, signum: int) -> None:
        """Send `signum` to every process of the job.  If the job is over, nothing happens.

        Raises: ValueError for a signal that cannot be passed on: `request.signals`.
        """
        self._launcher.send_signal(self.number, signum)

    async def first(self) -> int:
        """The pid of the job's first process, which is that of a namespace or the shim; 0 if it has ended.

        It is of this process's own PID namespace, and may be another process's as soon as the job has ended.
        """
        return await self._launcher.first_process(self.number)

    def kill(self) -> None:
        """End every process of the job at once."""
        self.signal(signal.SIGKILL)


class Launcher(ABC):
    """Starts jobs.  abilities: what this node allows.  python_because: why the helper is not used; "" if it is."""

    abilities: Abilities
    python_because: str = ""

    @staticmethod
    def for_this_node(*, private: bool = True, native: bool = True) -> Launcher:
        """A launcher for this node, which has found out what the node allows.

        private: give jobs namespaces and a view of their own, if the node allows it (`-p`).
        native: use the static helper, if there is one.

        Raises: LaunchError if it dies at once, or this kernel can run no jobs.
        """
        if reason := _why_no_jobs():
            raise LaunchError(f"no job can run on this host: {reason}")
        from gproc.launch.native import NativeLauncher, why_not_native

        because = why_not_native() if native else "switched off by GPROC_INIT=python"
        if not because:
            return NativeLauncher.found(private=private)
        from gproc.launch.forked import ForkedLauncher

        launcher = ForkedLauncher.forked(private=private)
        launcher.python_because = because
        return launcher

    @abstractmethod
    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, call each job's `on_exit` from this loop."""

    @abstractmethod
    def spawn(self, start: Start, stdin: int, stdout: int, stderr: int, on_exit: Callable[[JobEnd], None]) -> Process:
        """Run a program.  `on_exit` is called once, from the loop, when nothing of its job is left.

        The three descriptors are the program's ends.  This call owns them and closes them in any case.

        Raises: LaunchError if the launcher is dead, or argv and environment are too long.
        """

    @abstractmethod
    def send_signal(self, number: int, signum: int) -> None:
        """Do what `Process.signal` says."""

    @abstractmethod
    async def first_process(self, number: int) -> int:
        """Do what `Process.first` says."""

    def prolong(self, until_s: float) -> None:  # noqa: B027 - a launcher in Python does not know of leases
        """The slave's lease lasts until then, of CLOCK_BOOTTIME.  Jobs end by themselves if the lease is not prolonged,
        so a slave that stands still keeps no program alive."""

    @abstractmethod
    def close(self) -> None:
        """End all jobs; their `on_exit` is not called.  Waits until nothing of them is left.

        A second call does nothing.
        """
