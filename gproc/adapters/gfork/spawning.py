"""How a server or a master is started: its descriptors, its user, its priority and its environment."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import resource
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from gproc.adapters.gfork.settings import KEPT, MasterProgram, ServiceSettings
from gproc.errors import UsageError


class RunAs(msgspec.Struct, frozen=True):
    """uid, gid: None for those of gfork.  groups: the other groups, if one of them is not None."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()

    def keywords(self) -> dict[str, Any]:
        """For subprocess.Popen."""
        if self.uid is None and self.gid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": self.groups}


def server_identity(settings: ServiceSettings) -> RunAs:
    """Raises: UsageError if there is no such user or group, or gfork may not become it."""
    uid = gid = None
    groups: tuple[int, ...] = ()
    if settings.user is not None:
        account = account_of(settings.user)
        uid, gid = account.pw_uid, account.pw_gid
        if settings.has_groups:
            groups = tuple(os.getgrouplist(account.pw_name, account.pw_gid))
    if settings.group is not None:
        gid = gid_of(settings.group)
    return _allowed(RunAs(uid, gid, groups), f"the user {settings.user or settings.group}")


def master_identity(program: MasterProgram) -> RunAs:
    if program.uid is None:
        return RunAs()
    try:
        gid = pwd.getpwuid(program.uid).pw_gid
    except KeyError:
        gid = program.uid
    return _allowed(RunAs(program.uid, gid), f"the user {program.uid}")


def _allowed(wanted: RunAs, noun: str) -> RunAs:
    """What a process that is not root need not change is left out."""
    if os.geteuid() == 0:
        return wanted
    if wanted.uid in (None, os.geteuid()) and wanted.gid in (None, os.getegid()):
        return RunAs()
    raise UsageError(f"only root can run programs as {noun}: start gfork as root, or leave the key out")


def account_of(name: str) -> pwd.struct_passwd:
    """name: or a number.  Raises: UsageError if there is none."""
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise UsageError(f"there is no user {name}") from None


def gid_of(name: str) -> int:
    """name: of a group, or its number.  Raises: UsageError if there is none."""
    try:
        return (grp.getgrgid(int(name)) if name.isdecimal() else grp.getgrnam(name)).gr_gid
    except (KeyError, OverflowError):
        raise UsageError(f"there is no group {name}") from None


def environment_of(
    own: Sequence[str], passed: Sequence[str], links: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Exactly `own` (NAME=VALUE), the variables that are kept or passed, and those of the link; nothing else."""
    kept = {name: environ[name] for name in (*KEPT, *passed) if name in environ}
    return kept | dict(pair.split("=", 1) for pair in own) | dict(links)


class SpawnPlan(msgspec.Struct, frozen=True):
    """client: descriptor for the program's input and output, None for those of gfork.  links: to be passed on."""

    words: tuple[str, ...]
    environment: dict[str, str]
    identity: RunAs
    umask: int | None = None
    client: int | None = None
    links: tuple[int, ...] = ()


class Spawner:
    """Starts programs with a priority.  nice: None for that of gfork.  files: their limits of open files, likewise.

    On Linux a thread has a priority of its own, and a process has that of the thread which forks it.  So programs
    have theirs from their first instruction on, and are still started by vfork, which `preexec_fn` would prevent.
    """

    def __init__(self, nice: int | None = None, files: tuple[int, int] | None = None) -> None:
        """Raises: UsageError if gfork may not give that priority."""
        self._files = files
        self._thread: ThreadPoolExecutor | None = None
        if nice is None:
            return
        self._thread = ThreadPoolExecutor(1, "spawner")
        try:
            self._thread.submit(_set_priority, nice).result()
        except PermissionError:
            self.close()
            raise UsageError(f"only root can run programs with nice = {nice}") from None

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown()

    def start(self, plan: SpawnPlan) -> int:
        """Returns the pid of a process in a process group of its own.  Raises: OSError if it cannot be started."""
        pid = _start(plan) if self._thread is None else self._thread.submit(_start, plan).result()
        if self._files is not None:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, self._files)
        return pid


def _set_priority(nice: int) -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


def _start(plan: SpawnPlan) -> int:
    process = subprocess.Popen(
        plan.words,
        stdin=subprocess.DEVNULL if plan.client is None else plan.client,
        stdout=plan.client,
        pass_fds=plan.links,
        env=plan.environment,
        umask=-1 if plan.umask is None else plan.umask,
        process_group=0,
        **plan.identity.keywords(),
    )
    process.returncode = 0  # whatever it will be: gfork waits for it itself
    return process.pid


def signal_group(pid: int, number: signal.Signals) -> None:
    """pid: of a child of ours that is not yet waited for, so that no other process can have its number."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def ending_of(status: int) -> str:
    """How a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    return f"by signal {-code}" if code < 0 else f"status {code}"
