"""The caller's terminal while a program on a node uses it: its size, and keys that go to the node unchanged."""

from __future__ import annotations

import os
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gproc.request.spec import TerminalSize


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
    before = termios.tcgetattr(terminal)
    changed = termios.tcgetattr(terminal)
    changed[0] &= ~termios.IXON
    changed[3] &= ~off
    if not off:
        changed[3] &= ~termios.IEXTEN  # Ctrl-P and Ctrl-Q are no editing keys, but Ctrl-V and Ctrl-O would be
    try:
        termios.tcsetattr(terminal, termios.TCSADRAIN, changed)
        yield
    finally:
        with suppress(termios.error):  # it hung up
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


class LentTerminal:
    """A terminal that the program on the node uses.  In the `with` block, no key has an effect here, not even Ctrl-C.

    The terminal on the node makes signals of keys.  Keys that were typed before go there too.  After the block, the
    terminal is as it was, unless SIGKILL ends us.
    """

    def __init__(self, terminal: int) -> None:
        self.handle = terminal
        self._before = termios.tcgetattr(terminal)

    def __enter__(self) -> None:
        self.lend()

    def __exit__(self, *_: object) -> None:
        self.give_back()

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
