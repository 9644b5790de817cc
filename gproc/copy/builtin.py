"""Tasks that the slave's own code does on a node instead of a program: as values, and how they are done.

`prepared` runs in the job's first process with the slave's rights: it opens and imports everything that only the slave
may open.  `PreparedTask.fork` runs later in the same process, with the caller's rights.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn, Union

import msgspec

from gproc.errors import LaunchError
from gproc.shown import shown

if TYPE_CHECKING:
    from types import FrameType

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end a task after it has removed unfinished files.  SIGKILL does not wait for that."""

FAILED: Final = 1
"""Exit status if some of it could not be done; standard error has a line for each failure."""


class PlaceFiles(msgspec.Struct, frozen=True, array_like=True, tag="place"):
    """Unpack the bundle laid out in the directory `tree` at `to`, a path of the node's."""

    tree: bytes
    to: bytes


class CollectFiles(msgspec.Struct, frozen=True, array_like=True, tag="collect"):
    """Write the files at `path` on this node to standard output, as a stream of steps.

    node: this node's path.  told: standard input says which files the caller has: `gproc.copy.known`.
    """

    path: bytes
    node: bytes = b""
    told: bool = False


class CollectWritten(msgspec.Struct, frozen=True, array_like=True, tag="written"):
    """Write the files of a job's working directory that match to standard output, as a stream of steps.

    Standard input is a handle for that directory.  came: what the job was given there: `gproc.copy.known`.
    """

    globs: tuple[bytes, ...]
    came: bytes = b""


BuiltinTask = Union[PlaceFiles, CollectFiles, CollectWritten]  # noqa: UP007 - msgspec wants it so on 3.11


def task_for(action: str, argv: tuple[bytes, ...], tree: bytes | None, bin_root: bytes) -> BuiltinTask | None:
    """The task that a ticket's action asks for; None if it asks for its program to run.

    argv: "cp" or "get", and a path of the node's.  tree: where the job's bundle is laid out, None if it has none.
    Raises: LaunchError if these do not fit the action.
    """
    if action in ("run", "map"):
        return None
    # The launcher, which is copied for each job, has this module but not that one, nor the manifests behind it.
    from gproc.content.paths import within

    path = argv[1] if len(argv) == 2 else b""
    if not path.startswith(b"/"):
        raise LaunchError(f"this job would {action} files, but names no absolute path")
    if action == "collect":
        return CollectFiles(path)
    if action != "place" or tree is None:
        raise LaunchError(f"this job would {action} files, but has none")
    if within(path, bin_root):
        raise LaunchError(f"{shown(path)}: this is in binRoot, where nothing stays: choose another place")
    return PlaceFiles(tree, path)


class PreparedTask:
    """A task that can run as soon as the process has the caller's identity.

    work: called with a function that takes its complaints.  keep: the descriptors that it needs.  All others except 0
    to 2 are closed.
    """

    def __init__(self, work: Callable[[Callable[[str], None]], None], keep: tuple[int, ...] = ()) -> None:
        self._work = work
        self._keep = keep

    def fork(self) -> int:
        """Carry it out in a child with its own session, and descriptors 0 to 2.  Returns its pid."""
        pid = os.fork()
        if pid == 0:
            try:
                self._close_others()
                os.setsid()
                os.umask(0)
                os._exit(self._carried_out())
            finally:
                os._exit(FAILED)
        return pid

    def _close_others(self) -> None:
        """Close all descriptors but these: no exec does it.  A reader sees the end when all copies are closed."""
        first = 3
        for handle in sorted(self._keep):
            os.closerange(first, handle)
            first = handle + 1
        # The slave has this module too, but neither that one nor ctypes.
        from gproc.root import kernel

        kernel.close_from(first)

    def _carried_out(self) -> int:
        status = 0

        def complain(line: str) -> None:
            nonlocal status
            status = FAILED
            os.write(2, line.encode(errors="backslashreplace") + b"\n")

        try:
            _take_signals()
            self._work(complain)
        except _Ended as ended:
            signal.signal(ended.signum, signal.SIG_DFL)
            os.kill(os.getpid(), ended.signum)
        except BrokenPipeError:
            return FAILED  # the reader has closed the stream
        except Exception as error:  # noqa: BLE001 - a bug: the caller must see it
            complain(f"this is a bug in gproc: {type(error).__name__}: {error}")
        return status


def prepared(task: BuiltinTask) -> PreparedTask:
    """Open and import what needs the slave's rights.  Raises: OSError if the bundle is gone."""
    match task:
        case PlaceFiles(tree, to):
            from gproc.copy.placing import place

            handle = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            return PreparedTask(lambda complain: place(handle, to, complain), (handle,))
        case CollectFiles(path, node, told):
            from gproc.copy.collecting import collect
            from gproc.copy.known import Known, read_known

            return PreparedTask(
                lambda complain: collect(path, 1, complain, read_known(0, node) if told else Known(b"", node))
            )


        case CollectWritten(globs, came):
            from gproc.copy.known import Known
            from gproc.copy.written import collect_written

            given = Known(came, b"", least_bytes=0)
            return PreparedTask(lambda _complain: collect_written(0, globs, given, 1))


class _Ended(BaseException):
    """A signal of ENDING came.  It is no Exception, so that only clean-up code catches it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def _take_signals() -> None:
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for signum in ENDING:
        signal.signal(signum, _end)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _end(signum: int, _frame: FrameType | None) -> NoReturn:
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise _Ended(signum)
