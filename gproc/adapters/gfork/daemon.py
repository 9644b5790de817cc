"""gfork at work: it listens, keeps the masters, waits for processes, and does what signals ask.

SIGHUP reads the configuration again.  SIGTERM and SIGINT end it: no more connections; SIGTERM to the children and,
GRACE_S later, SIGKILL; then the same with the masters, which until then learn of every child's end.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Final, Protocol

from gproc import descriptors
from gproc.adapters.gfork.companion import DataNodes, node_switches, own_command
from gproc.adapters.gfork.frames import CONTACT_VARIABLE, INSTANCES_VARIABLE
from gproc.adapters.gfork.journal import Journal
from gproc.adapters.gfork.listening import contact_of, listen, passed_sockets
from gproc.adapters.gfork.masters import MasterPlace
from gproc.adapters.gfork.notify import SystemdNotice
from gproc.adapters.gfork.servers import Servers, ServicePlan
from gproc.adapters.gfork.settings import Configured, ServiceSettings
from gproc.adapters.gfork.spawning import Spawner, environment_of, master_identity, server_identity, signal_group
from gproc.adapters.gfork.switchboard import Switchboard
from gproc.errors import GprocError
from gproc.link.refusals import Refusals
from gproc.shown import reason_of

GRACE_S: Final = 2.0
"""Seconds between SIGTERM and SIGKILL, as in Globus' gfork."""

UNLIMITED_INSTANCES: Final = 2**31 - 1
"""The value that programs get if there is no limit, because their variable is a number."""


class Rereader(Protocol):
    """Reads the configuration again."""

    def read(self) -> Configured: ...


def run(configured: Configured, reader: Rereader) -> int:
    """Serve until a signal ends it.  Returns the exit status.

    Raises: GprocError, before anything is started, if the configuration cannot be carried out.
    """
    return asyncio.run(_Daemon(configured, reader).run())


class _Daemon:
    def __init__(self, configured: Configured, reader: Rereader) -> None:
        self._settings = configured.settings
        self._configured = configured
        self._reader = reader
        self._masters: list[MasterPlace] = []
        self._leaving: list[MasterPlace] = []  # those that a new configuration does not have
        self._next_place = 0
        self._signals = 0
        self._noted = Refusals()
        self._data_nodes: DataNodes | None = None
        self._former_nodes: list[DataNodes] = []  # those that a new configuration does not have
        self._files: tuple[int, int] | None = None  # the limits that programs get, if gfork has raised its own

    async def run(self) -> int:
        settings = self._settings
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._journal = Journal(settings.log_file, settings.log_level, settings.quiet)
        self._notice = SystemdNotice(os.environ)
        self._passed = passed_sockets(os.environ)
        listeners = self._passed or listen(settings)
        self._contact = contact_of(listeners[0], os.environ)
        self._board = Switchboard(self._log_of_links)
        self._allow_files(settings)
        spawner = Spawner(settings.nice, self._files)
        self._children = Servers(self._plan(settings), spawner, self._board, self._journal)
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._end, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        nodes = self._nodes_of(self._configured)
        _check_identities(settings)
        self._set_masters(settings)
        self._set_data_nodes(nodes)
        self._children.listen_to(listeners)
        self._say_where()
        await self._stop.wait()
        await self._shut_down()
        return 0

    def _log_of_links(self, text: str) -> None:
        if self._noted.may_log("", self._loop.time()):
            self._journal.error(text)

    def _allow_files(self, settings: ServiceSettings) -> None:
        if self._files is None and (settings.instances is None or settings.instances > _FEW):
            self._files = resource.getrlimit(resource.RLIMIT_NOFILE)
            descriptors.allow_all()

    def _plan(self, settings: ServiceSettings) -> ServicePlan:
        environment = environment_of(settings.environment, settings.passed, self._variables(settings), os.environ)
        return ServicePlan(settings, server_identity(settings), environment)

    def _variables(self, settings: ServiceSettings) -> dict[str, str]:
        instances = UNLIMITED_INSTANCES if settings.instances is None else settings.instances
        return {CONTACT_VARIABLE: self._contact, INSTANCES_VARIABLE: str(instances)}

    def _say_where(self) -> None:
        if not self._settings.quiet:
            with suppress(OSError):  # it may have no reader any more
                sys.stdout.write(f"Listening on: {self._contact}\n")
                sys.stdout.flush()
        self._notice.ready(f"Listening on {self._contact}")

    def _nodes_of(self, configured: Configured) -> DataNodes | None:
        """Raises: UsageError if nothing says where they register."""
        settings = configured.settings
        if configured.backend is None or settings.backends is None:
            return None
        host = os.environ.get("GLOBUS_HOSTNAME") or socket.gethostname()
        switches = node_switches(configured.backend, settings, host)
        how = "local" if settings.local_bin else "sent"
        return DataNodes([how, settings.backends, *own_command(), *switches], self._journal)

    # Processes

    def _set_masters(self, settings: ServiceSettings) -> None:
        """Start the masters that are new, and end those that the configuration no longer has."""
        kept: list[MasterPlace] = []
        before = self._masters
        for program in settings.masters:
            place = next((each for each in before if each.program == program and each not in kept), None)
            if place is None:
                place = MasterPlace(self._next_place, program, self._board, self._journal)
                self._next_place += 1
                place.start(settings.passed, self._variables(settings), os.environ)
            kept.append(place)
        self._masters = kept
        for place in before:
            if place not in kept:
                self._leave(place)

    def _set_data_nodes(self, nodes: DataNodes | None) -> None:
        """Start the nodes' servers, and end those of the configuration before, unless they are the same."""
        before = self._data_nodes
        if before is not None and nodes is not None and before.words == nodes.words:
            return
        self._data_nodes = nodes
        if before is not None:
            self._former_nodes.append(before)
            before.stop()
            self._loop.call_later(GRACE_S, before.signal, signal.SIGKILL)
        if nodes is not None:
            nodes.start()

    def _all_data_nodes(self) -> list[DataNodes]:
        return [*self._former_nodes, *([] if self._data_nodes is None else [self._data_nodes])]

    def _leave(self, place: MasterPlace) -> None:
        self._leaving.append(place)
        place.on_ended = lambda: self._leaving.remove(place)
        place.stop()
        self._loop.call_later(GRACE_S, place.kill)

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is None:
                    return
                if self._signals:  # all must end: what an ended child started, too
                    signal_group(found.si_pid, signal.SIGKILL)
                pid, status = os.waitpid(found.si_pid, 0)
            except ChildProcessError:
                return
            if pid in self._children:
                self._children.ended(pid, status)
            elif nodes := next((each for each in self._all_data_nodes() if each.pid == pid), None):
                nodes.ended(status)
                if nodes in self._former_nodes:
                    self._former_nodes.remove(nodes)
            else:
                for place in (*self._masters, *self._leaving):
                    if place.pid == pid:
                        place.ended(status)

    # Signals

    def _end(self, number: int) -> None:
        self._signals += 1
        self._journal.master(f"ended by {signal.Signals(number).name}")
        if self._signals > 1:
            self._children.signal(signal.SIGKILL)
            self._kill_masters()
        self._stop.set()

    def _kill_data_nodes(self) -> None:
        for nodes in self._all_data_nodes():
            nodes.signal(signal.SIGKILL)

    def _kill_masters(self) -> None:
        for place in (*self._masters, *self._leaving):
            place.kill()

    def _reload(self) -> None:
        """A configuration that cannot be carried out changes nothing."""
        if self._stop.is_set():
            return
        self._notice.reloading()
        try:
            self._apply(self._reader.read())
        except GprocError as error:
            self._journal.error(f"the configuration is not changed: {error}")
        except OSError as error:
            self._journal.error(f"the configuration is not changed: {reason_of(error)}")
        self._notice.ready(f"Listening on {self._contact}")

    def _apply(self, configured: Configured) -> None:
        new, old = configured.settings, self._settings
        _check_identities(new)
        nodes = self._nodes_of(configured)
        self._allow_files(new)
        with ExitStack() as undone:
            journal = Journal(new.log_file, new.log_level, new.quiet)
            undone.callback(journal.close)
            spawner = Spawner(new.nice, self._files)
            undone.callback(spawner.close)
            listeners = None
            if not self._passed and (new.port, new.bind, new.name) != (old.port, old.bind, old.name):
                listeners = listen(new)
            undone.pop_all()
        for warning in configured.warnings:
            journal.error(f"warning: {warning}")
        self._journal.close()
        self._journal = self._children.journal = journal
        for place in (*self._masters, *self._leaving):
            place.journal = journal
        for each in (*self._all_data_nodes(), *([] if nodes is None else [nodes])):
            each.journal = journal
        self._settings = new
        if listeners is not None:
            self._move(listeners)
        self._children.plan = self._plan(new)
        self._children.spawner.close()
        self._children.spawner = spawner
        self._set_masters(new)
        self._set_data_nodes(nodes)
        journal.master("the configuration is read again")

    def _move(self, listeners: list[socket.socket]) -> None:
        """Listen elsewhere.  Masters are started again: they may have told others where."""
        self._children.stop_listening()
        self._contact = contact_of(listeners[0], os.environ)
        self._children.listen_to(listeners)
        for place in self._masters:
            self._leave(place)
        self._masters = []
        self._say_where()

    async def _shut_down(self) -> None:
        self._notice.stopping()
        self._children.stop_listening()
        self._children.signal(signal.SIGTERM)
        if self._data_nodes is not None:
            self._data_nodes.stop()
        await self._until(lambda: not any(nodes.pid for nodes in self._all_data_nodes()), self._kill_data_nodes)
        await self._until(lambda: not self._children, lambda: self._children.signal(signal.SIGKILL))
        await self._until(lambda: self._board.has_delivered_all, lambda: None)
        for place in self._masters:
            self._leave(place)
        self._masters = []
        await self._until(lambda: not self._leaving, self._kill_masters)
        self._journal.close()

    async def _until(self, is_done: Callable[[], bool], afterwards: Callable[[], object]) -> None:
        """Wait for GRACE_S; if it is not done by then, do `afterwards`, and wait once more for as long."""
        for _ in range(2):
            end_s = self._loop.time() + GRACE_S
            while not is_done() and self._loop.time() < end_s:  # noqa: ASYNC110 - only at the end of gfork
                await asyncio.sleep(_TICK_S)
            if is_done():
                return
            afterwards()


def _check_identities(settings: ServiceSettings) -> None:
    """Raises: UsageError if gfork may not become a user that the configuration names."""
    server_identity(settings)
    for program in settings.masters:
        master_identity(program)


_FEW: Final = 400
"""Connections for which the usual limit of 1,024 descriptors is enough: each takes two."""

_TICK_S: Final = 0.02
