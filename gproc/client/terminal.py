"""The caller's terminal while a program on a node uses it: its size, and keys that go to the node unchanged."""

from __future__ import annotations

import os
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from gproc.request.spec import TerminalSize

_NOT_OURS: Final = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT, signal.SIGCHLD,
    signal.SIGURG, signal.SIGWINCH, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT,
}  # fmt: skip
"""Signals that nobody can handle, that end nothing, that stop (`Suspending`), or that a fault of the process makes:
after a handler in Python the faulty instruction would come again."""

_ENDING: Final = tuple(sorted(signal.valid_signals() - _NOT_OURS))


@contextmanager
def restoring(restore: Callable[[], None]) -> Iterator[None]:
    """In the block, a signal that ends this process calls `restore` first: SIGALRM of `perl -e 'alarm 9; exec ...'`,
    or SIGXCPU by `ulimit -t`.

    Signals that have a handler, or are ignored, are left alone.
    """

    def end(signum: int, _frame: FrameType | None) -> None:
        restore()
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)

    with suppress(ValueError):  # only a main thread can handle signals
        for signum in _ENDING:
            if signal.getsignal(signum) == signal.SIG_DFL:
                signal.signal(signum, end)
    try:
        yield
    finally:
        with suppress(ValueError):
            for signum in _ENDING:
                if signal.getsignal(signum) == end:
                    signal.signal(signum, signal.SIG_DFL)


@contextmanager
def as_it_was(terminal: int) -> Iterator[None]:
    """After the block the terminal is as it was before, also if a signal ends us in it."""
    before = termios.tcgetattr(terminal)

    def restore() -> None:
        with suppress(termios.error):  # it hung up
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)

    with restoring(restore):
        try:
            yield
        finally:
            restore()


def terminal_size_of(terminal: int) -> TerminalSize:
    size = os.get_terminal_size(terminal)
    return TerminalSize(size.lines, size.columns)


@contextmanager
def keys_only(terminal: int) -> Iterator[None]:
    """In the block, keys come as they are typed and are not shown; Ctrl-C still makes a signal."""
    yield from _changed(terminal, termios.ICANON | termios.ECHO)


@contextmanager
def lines(terminal: int) -> Iterator[None]:
    """In the block, lines are typed as usual, and Ctrl-Q can be part of one."""
    yield from _changed(terminal, 0)


def _changed(terminal: int, off: int) -> Iterator[None]:
    changed = termios.tcgetattr(terminal)
    changed[0] &= ~termios.IXON
    changed[3] &= ~off
    if not off:
        changed[3] &= ~termios.IEXTEN  # Ctrl-P and Ctrl-Q are no editing keys, but Ctrl-V and Ctrl-O would be
    with as_it_was(terminal):
        termios.tcsetattr(terminal, termios.TCSADRAIN, changed)
        yield


class LentTerminal:
    """A terminal that the program on the node uses.  In the `with` block, no key has an effect here, not even Ctrl-C.

    The terminal on the node makes signals of keys.  Keys that were typed before go there too.  After the block, the
    terminal is as it was, unless SIGKILL or a crash ends us.
    """

    def __init__(self, terminal: int) -> None:
        self.handle = terminal
        self._before = termios.tcgetattr(terminal)
        self._restoring = restoring(self.give_back)

    def __enter__(self) -> None:
        self._restoring.__enter__()
        self.lend()

    def __exit__(self, *_: object) -> None:
        self.give_back()
        self._restoring.__exit__(None, None, None)

    def lend(self) -> None:
        tty.setraw(self.handle, termios.TCSADRAIN)

    def give_back(self) -> None:
        """Output that was written is shown first.  Keys that were typed are for the shell that comes next."""
        with suppress(termios.error):  # it hung up
            termios.tcsetattr(self.handle, termios.TCSADRAIN, self._before)

    @property
    def is_ours(self) -> bool:
        """Whether this process is in the terminal's foreground, so that it may use it."""
        with suppress(OSError):
            return os.tcgetpgrp(self.handle) == os.getpgrp()
        return True  # it hung up, or is not our controlling terminal: our next read will say so
