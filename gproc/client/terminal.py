"""The caller's terminal while a program far away has it: its size, and keys that go there as they are."""

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
    """Within, no key means anything here, Ctrl-C neither: the terminal on the node makes signals of them.

    What was typed before goes there too.  However it ends, SIGKILL aside, the terminal is as it was.
    """
    before = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal, termios.TCSADRAIN)
        yield
    finally:
        # What was written is shown first; what was typed is for the shell that comes next.
        with suppress(termios.error):  # it hung up
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
