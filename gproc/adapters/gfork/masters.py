"""The master programs: each is started before the first connection, and again when it ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from typing import Final

from gproc.adapters.gfork.frames import READ_VARIABLE, WRITE_VARIABLE
from gproc.adapters.gfork.journal import Journal
from gproc.adapters.gfork.settings import MasterProgram
from gproc.adapters.gfork.spawning import Spawner, SpawnPlan, ending_of, environment_of, master_identity, signal_group
from gproc.adapters.gfork.switchboard import Switchboard
from gproc.shown import reason_of

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
STEADY_S: Final = 60.0
"""Seconds: a master that ran for this long is started again as if it had never failed."""


def pause_s(failures: int) -> float:
    """How long to wait before the next start.  failures: how often in a row, from 1."""
    return float(min(FIRST_PAUSE_S * 2 ** min(failures - 1, 16), LONGEST_PAUSE_S))


class MasterPlace:
    """One master of the configuration, and the process that is it at the moment."""

    def __init__(self, place: int, program: MasterProgram, board: Switchboard, journal: Journal) -> None:
        """Raises: UsageError if gfork may not become the master's user."""
        self.program = program
        self.pid = 0
        self.journal = journal
        self._place = place
        self._board = board
        self._identity = master_identity(program)
        self._loop = asyncio.get_running_loop()
        self._spawner = Spawner()
        self._failures = 0
        self._started_at_s = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self.on_ended: Callable[[], None] | None = None
        board.add_master(place, self._link_ended)

    def start(self, passed: tuple[str, ...], variables: Mapping[str, str], environ: Mapping[str, str]) -> None:
        """variables: those of gfork, but for its link.  environ: gfork's own environment."""
        self._environment = environment_of(self.program.environment, passed, variables, environ)
        self._start()

    def _start(self) -> None:
        self._retry = None
        self._started_at_s = self._loop.time()
        try:
            ends = self._board.open_master(self._place)
        except OSError as error:
            self._failed(f"cannot be linked: {reason_of(error)}")
            return
        variables = {READ_VARIABLE: str(ends.read), WRITE_VARIABLE: str(ends.write)}
        plan = SpawnPlan(
            words=(self.program.program, *self.program.arguments),
            environment=self._environment | variables,
            identity=self._identity,
            links=(ends.read, ends.write),
        )
        try:
            self.pid = self._spawner.start(plan)
        except OSError as error:
            self._failed(f"cannot be started: {reason_of(error)}")
            return
        finally:
            ends.close()
        self._board.start_master(self._place, self.pid)
        self.journal.master(f"master {self.program.program} is process {self.pid}")

    def _link_ended(self, reason: str | None) -> None:
        """A master without a link is of no use: it is ended, and started again.

        One that closed its link may be about to end, and to say why: it has a moment to do so.
        """
        if reason is None:
            self._loop.call_later(FIRST_PAUSE_S, self._end, self.pid, "closed its link")
        else:
            self._end(self.pid, reason)

    def _end(self, pid: int, reason: str) -> None:
        if pid != self.pid or self._is_stopping:
            return
        self.journal.error(f"master {pid}: {reason}; it is ended")
        signal_group(pid, signal.SIGTERM)
        self._loop.call_later(FIRST_PAUSE_S, self._kill, pid)

    def _kill(self, pid: int) -> None:
        if pid == self.pid:
            signal_group(pid, signal.SIGKILL)

    def ended(self, status: int) -> None:
        """Its process was waited for."""
        ended = self.pid
        if self._is_stopping:
            self.pid = 0
            self._board.remove_master(self._place)
            self.journal.master(f"master {ended} ended, {ending_of(status)}")
            if self.on_ended is not None:
                self.on_ended()
            return
        if self._loop.time() - self._started_at_s >= STEADY_S:
            self._failures = 0
        self._failed(f"(process {ended}) ended, {ending_of(status)}")

    def _failed(self, what: str) -> None:
        self.pid = 0
        self._failures += 1
        self._board.master_ended(self._place)
        pause = pause_s(self._failures)
        self.journal.error(f"master {self.program.program} {what}; it is started again in {pause:g} s")
        self._retry = self._loop.call_later(pause, self._start)

    def stop(self) -> None:
        """End it for good: `on_ended` is called when it has ended, or at once if it does not run."""
        self._is_stopping = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self.pid:
            signal_group(self.pid, signal.SIGTERM)
        else:
            self._board.remove_master(self._place)
            if self.on_ended is not None:
                self.on_ended()

    def kill(self) -> None:
        if self.pid:
            signal_group(self.pid, signal.SIGKILL)
