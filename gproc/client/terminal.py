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
def raw(terminal: int) -> Iterator[None]:
    """In the block, no key has an effect here, not even Ctrl-C: the terminal on the node makes signals of keys.

    Keys that were typed before go there too.  After the block, the terminal is as it was, unless SIGKILL ends us.
    """
    before = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal, termios.TCSADRAIN)
        yield
    finally:
        # Output that was written is shown first.  Keys that were typed are for the shell that comes next.
        with suppress(termios.error):  # it hung up
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
