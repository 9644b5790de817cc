"""The functions in which a job's processes are, by py-spy and gdb, if this node has them.

Trust: both read what the process has in its memory, and files of its choice.  So they never have root's rights over
it: they run as the user whose job it is, and only for processes that have no other user's rights.  They cannot gain
rights (no_new_privs), write no file, and have bounds on time, memory and output.  A tool counts only if no user but
root can exchange it.  The tools look at processes by number, so their answer is dropped if that number has become
another process's.

py-spy does not stop the process; gdb does, for a second or more, so it is used only if the user asks for it.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from gproc import interpreter
from gproc.node.processes import ProcessSeen, is_still
from gproc.request.spec import Caller
from gproc.shown import shown_text
from gproc.wire.stacks import FRAME_CHARACTERS_MAX

TOOL_DIRECTORIES: Final = ("/usr/bin", "/usr/local/bin")

PYTHON_S: Final = 1.0
"""How long py-spy has for all processes of a job on this node; it takes 0.04 s for one."""

DEBUGGER_S: Final = 8.0
"""How long gdb has for all of them; it takes 0.5 s for one, and 2 s for one with much code."""

PROCESSES_OF_TOOL_MAX: Final = 16

USER_FRAMES_MAX: Final = 100

OUTPUT_BYTES_MAX: Final = 1 << 20

_ENDS_S: Final = 1.0
"""How long a tool has after its last word."""

UserStacks = Mapping[int, tuple[str, ...]]
"""By the thread's number: the outermost function first."""

_GUARD: Final = """
import ctypes, os, resource, sys
uid, gid, groups, seconds, words = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5:]
if ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) != 0:
    sys.exit(1)
for limit, most in (("CPU", seconds), ("AS", 4 << 30), ("FSIZE", 0), ("CORE", 0)):
    resource.setrlimit(getattr(resource, "RLIMIT_" + limit), (most, most))
if os.geteuid() == 0:
    os.setgroups([int(group) for group in groups.split(",") if group])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
os.chdir("/")
os.execve(words[0], words, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"})
"""
"""Gives up all rights but the user's, and then executes a tool.  38 is PR_SET_NO_NEW_PRIVS."""

_GDB: Final = (
    "-nx", "-nh", "-batch", "-iex", "set auto-load off", "-iex", "set debuginfod enabled off", "-iex",
    "set history save off", "-iex", "set pagination off", "-ex", f"thread apply all backtrace {USER_FRAMES_MAX}",
)  # fmt: skip

_GDB_THREAD: Final = re.compile(r"^Thread \d+ \(.*?\b(?:LWP|process) (\d+)\b")
_GDB_FRAME: Final = re.compile(r"^#\d+\s+(?:0x[0-9a-f]+ in )?(.+?) \(.*?(?:\) at (\S+:\d+)|\) from \S+|\))$")

_ENTRIES: Final = frozenset({
    "_start", "__libc_start_main", "__libc_start_main_impl", "__libc_start_call_main", "clone", "clone3",
    "start_thread",
})  # fmt: skip
"""Outermost functions that every program has."""


class _PythonFrame(msgspec.Struct, frozen=True):
    name: str
    line: int
    short_filename: str | None = None
    filename: str = ""


class _PythonThread(msgspec.Struct, frozen=True):
    frames: tuple[_PythonFrame, ...]
    os_thread_id: int | None = None


class ToolReport(NamedTuple):
    """stacks: of the threads of all processes.  remarks: what could not be had, and why."""

    stacks: dict[int, tuple[str, ...]]
    remarks: list[str]


def user_stacks(processes: Iterable[ProcessSeen], caller: Caller, *, debugger: bool) -> ToolReport:
    """debugger: whether gdb is used for what is no Python.  It takes PYTHON_S, or DEBUGGER_S with gdb."""
    report = ToolReport({}, [])
    py_spy, gdb = tool_named("py-spy"), tool_named("gdb") if debugger else None
    if debugger and gdb is None:
        report.remarks.append("there is no gdb in a place that only root can change")
    until_s = {"py-spy": time.monotonic() + PYTHON_S, "gdb": time.monotonic() + PYTHON_S + DEBUGGER_S}
    left = dict.fromkeys(until_s, PROCESSES_OF_TOOL_MAX)
    for process in processes:
        if all(thread.state in "ZXx" for thread in process.threads):
            continue
        tool, path = ("py-spy", py_spy) if process.is_python and py_spy is not None else ("gdb", gdb)
        if path is None:
            continue
        if why := _objection(process, caller, tool, until_s[tool], left):
            report.remarks.append(why)
            continue
        left[tool] -= 1
        found = _asked(tool, path, process, caller, until_s[tool])
        if found is None:
            report.remarks.append(f"{tool} could not look at {process.name}")
        else:
            report.stacks.update(found)
    return report


def _objection(
    process: ProcessSeen, caller: Caller, tool: str, until_s: float, left: Mapping[str, int]
) -> str:
    """Why a tool may not look at a process; "" if it may."""
    if set(process.uids) != {caller.uid if os.geteuid() == 0 else os.geteuid()}:
        return f"{tool} does not look at {process.name}, which has the rights of another user"
    if left[tool] <= 0:
        return f"{tool} looks at {PROCESSES_OF_TOOL_MAX} processes of a job at most"
    if time.monotonic() >= until_s:
        return f"{tool} took too long"
    return ""


def tool_named(name: str) -> str | None:
    """The path of a tool that only root can exchange; None if there is none."""
    for directory in TOOL_DIRECTORIES:
        path = os.path.realpath(os.path.join(directory, name))
        if os.access(path, os.X_OK) and _is_roots(path):
            return path
    return None


def _is_roots(path: str) -> bool:
    """Whether only root can change a file, and every directory on the way to it.  path: without symbolic links."""
    while True:
        try:
            status = os.lstat(path)
        except OSError:
            return False
        others = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid != 0 else 0)
        if status.st_uid != 0 or status.st_mode & others or stat.S_ISLNK(status.st_mode):
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def _asked(tool: str, path: str, process: ProcessSeen, caller: Caller, until_s: float) -> UserStacks | None:
    pid = str(process.pid)
    words: tuple[str, ...] = ("dump", "--nonblocking", "--json", "-p", pid)
    if tool == "gdb":
        # Left to itself, gdb would enter the process's mount namespace for its files, and only root may do that.
        words = (*_GDB, "-iex", f"set sysroot /proc/{pid}/root", f"/proc/{pid}/exe", "-p", pid)
    text = _run((path, *words), caller, until_s - time.monotonic())
    if text is None or not is_still(process):
        return None
    ids = {thread.id: thread.id for thread in process.threads}
    if tool == "py-spy":
        ids = {thread.inner: thread.id for thread in process.threads}
    found = _python_stacks(text) if tool == "py-spy" else _native_stacks(text)
    return {ids[id]: stack for id, stack in found if id in ids} or None


def _run(words: tuple[str, ...], caller: Caller, timeout_s: float) -> bytes | None:
    """What a tool writes, run with the caller's rights alone; None if it fails."""
    groups = ",".join(map(str, caller.groups))
    guard = (str(caller.uid), str(caller.gid), groups, str(int(timeout_s) + 1))
    with subprocess.Popen(
        [*interpreter.command(), "-I", "-S", "-c", _GUARD, *guard, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, env={},
    ) as tool:  # fmt: skip
        assert tool.stdout is not None
        text = _read(tool.stdout.fileno(), timeout_s)
        try:
            tool.wait(_ENDS_S if text is not None else 0)
        except subprocess.TimeoutExpired:
            os.killpg(tool.pid, signal.SIGKILL)
    return text if tool.returncode == 0 else None


def _read(handle: int, timeout_s: float) -> bytes | None:
    """All that comes; None if that takes too long or is too much."""
    import select

    until_s = time.monotonic() + timeout_s
    text = bytearray()
    while (left_s := until_s - time.monotonic()) > 0 and len(text) <= OUTPUT_BYTES_MAX:
        if select.select([handle], [], [], left_s)[0]:
            data = os.read(handle, 64 << 10)
            if not data:
                return bytes(text)
            text += data
    return None


def _python_stacks(text: bytes) -> Iterator[tuple[int, tuple[str, ...]]]:
    try:
        threads = _python_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    for thread in threads:
        frames = [
            f"{frame.name} ({frame.short_filename or frame.filename}:{frame.line})"
            for frame in thread.frames[:USER_FRAMES_MAX]
        ]
        if thread.os_thread_id is not None:
            yield thread.os_thread_id, tuple(map(_bounded, reversed(frames)))


def _native_stacks(text: bytes) -> Iterator[tuple[int, tuple[str, ...]]]:
    id, frames = 0, list[str]()
    for line in text.decode(errors="replace").splitlines():
        if (thread := _GDB_THREAD.match(line)) is not None:
            if frames:
                yield id, tuple(reversed(frames))
            id, frames = int(thread[1]), []
        elif (frame := _GDB_FRAME.match(line)) is not None and frame[1] not in _ENTRIES:
            where = "" if frame[2] is None else f" ({os.path.basename(frame[2])})"
            frames.append(_bounded(frame[1] + where))
    if frames:
        yield id, tuple(reversed(frames))


def _bounded(text: str) -> str:
    return shown_text(text)[:FRAME_CHARACTERS_MAX]


_python_decoder: Final = msgspec.json.Decoder(tuple[_PythonThread, ...])
