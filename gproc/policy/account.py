"""Asks PAM whether a user's account may be used now: `python -I -S account.py SERVICE UID SECONDS`.

Runs in a process of its own, which imports nothing of gproc.  A module of PAM may wait for a server that does not
answer, it may crash, and it may leave threads, descriptors and processes behind.  So a child asks, and this process
ends it and all that it started when it has answered, when the time is over, or when the daemon is gone.

Exit status 0: it may be used.  10: it may not, and standard output has PAM's own words.  11: the time is over.
12: the child ended without an answer.  Python itself ends with 1 and 2.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
import time
from typing import Final

LIBRARY: Final = "libpam.so.0"

WORDS_MAX: Final = 500
"""Bytes of what PAM says."""

TERMINAL: Final = b"gproc"
"""PAM_TTY, as pam_access(8) wants it of a service without a terminal."""

REFUSED: Final = 10
TOO_LATE: Final = 11
CRASHED: Final = 12

ROUNDS: Final = 200
"""Rounds of killing what is left, 10 ms each.  Processes that the kernel does not end in that time stay."""

SHADOW: Final = "/etc/shadow"

_PDEATHSIG: Final = 1
_CHILD_SUBREAPER: Final = 36
"""prctl(2)."""

_SUCCESS: Final = 0
_CONVERSATION_FAILED: Final = 19
_TTY: Final = 3
_ERROR_MESSAGE: Final = 3
_INFORMATION: Final = 4
"""Numbers of <security/_pam_types.h>."""


class _Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


_Messages = ctypes.POINTER(ctypes.POINTER(_Message))
_Answers = ctypes.POINTER(ctypes.c_void_p)
_Converse = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, _Messages, _Answers, ctypes.c_void_p)


class _Conversation(ctypes.Structure):
    _fields_ = (("converse", _Converse), ("data", ctypes.c_void_p))


def refusal(service: str, uid: int) -> str:
    """Why the account may not be used; "" if it may."""
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"this machine has no user with uid {uid}"
    if _is_hidden(SHADOW):
        return f"{SHADOW} cannot be read, so it is not known whether an account has expired: grant CAP_DAC_READ_SEARCH"
    try:
        pam = ctypes.CDLL(LIBRARY)
    except OSError:
        return f"{LIBRARY} cannot be loaded on this machine"
    pam.pam_strerror.restype = ctypes.c_char_p
    pam.pam_strerror.argtypes = [ctypes.c_void_p, ctypes.c_int]
    said: list[str] = []
    conversation = _Conversation(_Converse(_listener(said)), None)
    handle = ctypes.c_void_p()
    status = pam.pam_start(service.encode(), os.fsencode(user), ctypes.byref(conversation), ctypes.byref(handle))
    if status != _SUCCESS:
        return f"PAM cannot begin: {_text(pam.pam_strerror(handle, status))}"
    pam.pam_set_item(handle, _TTY, TERMINAL)
    status = pam.pam_acct_mgmt(handle, 0)
    if status != _SUCCESS:
        said.append(_text(pam.pam_strerror(handle, status)))
    pam.pam_end(handle, status)
    return "; ".join(dict.fromkeys(said)) if status != _SUCCESS else ""


def _is_hidden(path: str) -> bool:
    """Whether this is root without the right to read the file: pam_unix(8) then takes every account for good.

    For another user pam_unix asks a set-user-ID program.
    """
    if os.geteuid() != 0:
        return False
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _listener(said: list[str]):  # type: ignore[no-untyped-def]  # a C function's arguments
    """Takes what PAM tells a user.  No user is there to answer a question, so a question fails."""
    libc = ctypes.CDLL(None)
    libc.calloc.restype = ctypes.c_void_p

    def converse(count: int, messages, answers, _data) -> int:  # type: ignore[no-untyped-def]
        for index in range(count):
            message = messages[index].contents
            if message.style not in (_ERROR_MESSAGE, _INFORMATION):
                return _CONVERSATION_FAILED
            said.append(_text(message.text).strip())
        answers[0] = libc.calloc(max(1, count), 2 * ctypes.sizeof(ctypes.c_void_p))  # struct pam_response; PAM frees it
        return _SUCCESS

    return converse


def _text(text: bytes | None) -> str:
    return (text or b"").decode(errors="backslashreplace")


def main(service: str, uid: int, seconds: float) -> int:
    libc = ctypes.CDLL(None)
    libc.prctl(_CHILD_SUBREAPER, ctypes.c_ulong(1))
    libc.prctl(_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
    watched = {signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, watched)
        os._exit(_ask(service, uid))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    status = None
    while status is None and signal.sigwait(watched) == signal.SIGCHLD:
        status = _reap(child)
    _end_all()
    if status is None:
        return TOO_LATE
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else CRASHED


def _ask(service: str, uid: int) -> int:
    answer = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):  # modules may write there
        os.dup2(nothing, handle)
    why = refusal(service, uid)
    os.write(answer, why.encode(errors="backslashreplace")[:WORDS_MAX])
    return REFUSED if why else 0


def _reap(child: int) -> int | None:
    """Take what has ended.  Returns the wait status of this child, if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status


def _end_all() -> None:
    """Kill what is left.  Those below a process that was killed become our children, because we are their reaper."""
    for _ in range(ROUNDS):
        _reap(0)
        children = _children()
        if not children:
            return
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return _children_by_stat()


def _children_by_stat() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    behind_name = file.read().rpartition(b")")[2]  # the name may have any byte: proc_pid_stat(5)
            except OSError:  # it has ended
                continue
            if int(behind_name.split()[1]) == os.getpid():
                found.append(int(name))
    return sorted(found)


if __name__ == "__main__":
    os._exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
