"""The master that nodes shall join: found by its socket, or started in the background."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from gproc import interpreter
from gproc.client.inquiry import inquire
from gproc.client.listener import listener_at
from gproc.client.silence import full
from gproc.errors import GprocError, MasterSilent, NoMaster, UsageError
from gproc.shown import reason_of
from gproc.start.ssh import last_line
from gproc.trust.caller import listener_of
from gproc.trust.meeting import dial
from gproc.wire.messages import TreeState

LOG: Final = "master.log"

READY_S: Final = 30.0
"""A master is ready after half a second; making a cluster's keys takes another."""

ENDING_S: Final = 20.0
ASK_EVERY_S: Final = 0.02
REACHED_S: Final = 3.0
RESOLVING_S: Final = 3.0

ANSWERING_S: Final = 15.0
"""A master that works answers after a second at most, when it has asked its nodes for their load."""


def tree_of(socket_path: str) -> TreeState | None:
    """The tree of the master that listens there; None if there is none.  Raises: MasterSilent if it does not answer."""
    try:
        return inquire(socket_path, ANSWERING_S)
    except NoMaster:
        return None


def tree_for_hint(socket_path: str) -> TreeState | None:
    """The same, for a better sentence about something else: also None if the master cannot be asked."""
    try:
        return tree_of(socket_path)
    except GprocError:
        return None


def tree_there(socket_path: str) -> TreeState:
    """The tree of the master that listens there.  Raises: NoMaster if there is none."""
    tree = tree_of(socket_path)
    if tree is None:
        raise NoMaster(socket_path, f"no master listens at {socket_path}: gproc start starts one")
    return tree


def start_master(
    home: str, socket_path: str, switches: Sequence[str], *, foreground: bool, meanwhile: Callable[[], None]
) -> subprocess.Popen[bytes]:
    """Start a master and wait until it takes commands.  In the background it writes its log to `home`/master.log.

    meanwhile: called while it starts.
    Raises: GprocError with its last words.
    """
    log = os.path.join(home, LOG)
    words = [*interpreter.command(), "-P", "-m", "gproc", "m", f"--socket={socket_path}", *switches]
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        master = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=None if foreground else file, stderr=None if foreground else file,
            cwd="/", start_new_session=not foreground,
        )  # fmt: skip
    try:
        meanwhile()
        _await_master(master, socket_path, log)
    except BaseException:
        master.terminate()
        raise
    return master


def _await_master(master: subprocess.Popen[bytes], socket_path: str, log: str) -> None:
    until_s = time.monotonic() + READY_S
    while time.monotonic() < until_s:
        if master.poll() is not None:
            with open(log, "rb") as file:
                said = last_line(file.read()).removeprefix("gproc: ")
                raise GprocError(f"the master ended: {said or f'status {master.returncode}'}")
        with contextlib.suppress(OSError):
            connection, _ = dial(socket_path)
            connection.close()
            return
        time.sleep(ASK_EVERY_S)
    raise GprocError(f"the master was not ready within {READY_S:g} s: {log}")


def port_of(tree: TreeState | None, otherwise: int) -> int:
    """The port that the master's own children dial; `otherwise` if it has none.

    Raises: UsageError if that says "any free one": nodes must know it.
    """
    dialled = [row.node.dials.rpartition(":")[2] for row in tree.nodes if len(row.place) == 1] if tree else []
    known = [port for port in dialled if port.isdigit()]
    port = int(max(known, key=known.count)) if known else otherwise
    if not port:
        raise UsageError("--cmd-port 0: nodes must know the master's port, so a free one will not do: name one")
    return port


def check_reachable(address: str, port: int) -> None:
    """Raises: GprocError if the master cannot be reached at an address by which its nodes are to dial it."""
    try:
        socket.create_connection((address, port), REACHED_S).close()
    except OSError as error:
        raise GprocError(
            f"the master here does not take nodes at {address} port {port}: {reason_of(error)}; if it serves this"
            " machine alone, end it by `gproc stop`, and gproc start starts another"
        ) from error


def address_towards(host: str) -> str:
    """This machine's own address on the way to a host; "" if that is not known.  Nothing is sent."""
    for family, _, _, _, address in _resolved(host):
        with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.connect(address)
            return str(probe.getsockname()[0])
    return ""


def address_of(host: str) -> str:
    """The first address that the host's name stands for; "" if there is none."""
    return next((str(found[4][0]) for found in _resolved(host)), "")


def _resolved(host: str) -> list[tuple[socket.AddressFamily, int, int, str, tuple[object, ...]]]:
    """Nothing if that is not known in time: getaddrinfo(3) waits for a name server that is dead for half a minute."""
    found: list[tuple[socket.AddressFamily, int, int, str, tuple[object, ...]]] = []

    def resolve() -> None:
        with contextlib.suppress(OSError):
            found.extend(socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM))

    resolving = threading.Thread(target=resolve, daemon=True)
    resolving.start()
    resolving.join(RESOLVING_S)
    return found if not resolving.is_alive() else []


def stop_master(socket_path: str) -> int:
    """End the master that listens there, and with it the whole tree; its pid.  Also one that is stopped, or hangs.

    Raises: NoMaster; MasterSilent if it takes no connection and its process is not found; GprocError if it may not be
    ended, or does not end.
    """
    pid, path, handle = _master_process(socket_path)
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        signal.pidfd_send_signal(handle, signal.SIGCONT)  # one that is stopped ends when it goes on
        if not select.select([handle], [], [], ENDING_S)[0]:
            raise GprocError(f"the master, process {pid}, does not end: see its log; kill -9 {pid} ends it")
    except PermissionError as error:
        raise GprocError(f"the master at {path} is another user's: process {pid}") from error
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
    return pid


def _master_process(socket_path: str) -> tuple[int, str, int]:
    """Its pid, the path at which it listens, and a descriptor of the process.  Raises: NoMaster, MasterSilent."""
    try:
        connection, path = dial(socket_path)
    except BlockingIOError as error:
        path = error.filename
        if (found := listener_at(path)) is not None:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(found[0])
                if listener_at(path) == found:  # and the descriptor is of no later process with that number
                    return found[0], path, handle
                os.close(handle)
        raise MasterSilent(full(path)) from error
    except OSError as error:
        raise NoMaster(socket_path, f"no master listens at {socket_path}: {error.strerror}") from error
    with connection:
        pid, _ = listener_of(connection)
        return pid, path, os.pidfd_open(pid)
