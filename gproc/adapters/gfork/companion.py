"""`gfork --backends NODES`: the process beside gfork that keeps the nodes' servers, and what it is told."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from typing import Final

from gproc.adapters.gfork.grammar import Block, ConfigurationError
from gproc.adapters.gfork.journal import Journal
from gproc.adapters.gfork.masters import STEADY_S, pause_s
from gproc.adapters.gfork.settings import MasterProgram, ServiceSettings
from gproc.adapters.gfork.spawning import RunAs, Spawner, SpawnPlan, ending_of, signal_group
from gproc.errors import UsageError
from gproc.shown import reason_of

_FRONTEND_SWITCHES: Final = ("-b", "-reg-cs", "--reg-cs")
_PORT_SWITCHES: Final = ("-p", "-port", "--port")


def node_switches(block: Block, settings: ServiceSettings, host: str) -> list[str]:
    """The command line of the nodes' gfork: the file's second service, as switches.

    So its programs are words of the command, and gproc sends them along.  If its master is not told where to register,
    it is told the port of the first service's master, at `host`.

    Raises: ConfigurationError for a line that no switch can say; UsageError if nothing says where to register.
    """
    words: list[str] = []
    has_frontend = False
    for line in block.entries:
        if line.operator == "-=":
            raise ConfigurationError(line.origin, "-= cannot be used in the service of --backends")
        words += [f"-{line.key}", line.value]
        has_frontend |= line.key == "master_args" and any(word in _FRONTEND_SWITCHES for word in line.words())
    if not has_frontend:
        words += ["-master_args", f"-b {host}:{_registry_port(settings.masters)}"]
    return words


def _registry_port(masters: tuple[MasterProgram, ...]) -> str:
    for master in masters:
        for switch, value in itertools.pairwise(master.arguments):
            if switch in _PORT_SWITCHES and value != "0":
                return value
    raise UsageError(
        "--backends: nothing says where the data nodes register: give the first service's master a port (-p PORT), "
        "or the second one's its address (-b HOST:PORT)"
    )


def own_command() -> list[str]:
    """This gfork, as a command for nodes: the script, if there is one, whose modules gproc sends along."""
    script = os.path.join(os.path.dirname(sys.executable), "gfork")
    return [script] if os.access(script, os.X_OK) else [sys.executable, "-m", "gproc.adapters.gfork"]


_MODULE: Final = "gproc.adapters.gfork.datanodes"


class DataNodes:
    """words: for `datanodes.main`."""

    def __init__(self, words: list[str], journal: Journal) -> None:
        self.pid = 0
        self.journal = journal
        self.words = words
        self._loop = asyncio.get_running_loop()
        self._failures = 0
        self._started_at_s = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._ours = -1

    def start(self) -> None:
        """Its standard input ends when gfork ends, because then no other process could end the nodes' servers."""
        self._retry = None
        self._started_at_s = self._loop.time()
        its, self._ours = os.pipe2(os.O_CLOEXEC)
        words = (sys.executable, "-m", _MODULE, *self.words)
        try:
            self.pid = Spawner().start(SpawnPlan(words, dict(os.environ), RunAs(), client=its))
        except OSError as error:
            self._close_ours()
            self._failed(f"cannot be kept: {reason_of(error)}")
        finally:
            os.close(its)

    def ended(self, status: int) -> None:
        """Its process was waited for."""
        self.pid = 0
        self._close_ours()
        if self._is_stopping:
            return
        if self._loop.time() - self._started_at_s >= STEADY_S:
            self._failures = 0
        self._failed(f"are no longer kept: the process ended, {ending_of(status)}")

    def _close_ours(self) -> None:
        os.close(self._ours)
        self._ours = -1

    def _failed(self, what: str) -> None:
        self._failures += 1
        pause = pause_s(self._failures)
        self.journal.error(f"data nodes {what}; tried again in {pause:g} s")
        self._retry = self._loop.call_later(pause, self.start)

    def stop(self) -> None:
        self._is_stopping = True
        if self._retry is not None:
            self._retry.cancel()
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        if self.pid:
            signal_group(self.pid, number)
