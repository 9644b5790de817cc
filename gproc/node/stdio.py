"""A program's standard streams: makes both ends of its pipes, or of one terminal."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

import msgspec

from gproc.node.pipes import close_all, make_pipe, open_null
from gproc.request.spec import TerminalSize
from gproc.wire import frames


class Stdio(msgspec.Struct, frozen=True):
    """Descriptors, to be closed by the function that receives them.

    program: the program's ends, as 0, 1 and 2, which `NodeServices.spawn` takes over.
    input: our end of its input; -1 if it has none.
    outputs: our ends of its output, by stream.
    """

    program: tuple[int, int, int]
    input: int
    outputs: dict[int, int]

    def close_ours(self) -> None:
        """Close our ends, if the program was not started."""
        close_all([handle for handle in (self.input, *self.outputs.values()) if handle >= 0])


def open_pipes(*, stdin: bool) -> Stdio:
    """stdin: whether the program gets an input; if not, it reads /dev/null.  Raises: OSError."""
    opened: list[int] = []
    try:
        ours, program = make_pipe(reader_is_ours=False) if stdin else (-1, open_null())
        opened += [program] if ours < 0 else [ours, program]
        our_stdout, stdout = make_pipe(reader_is_ours=True)
        opened += [our_stdout, stdout]
        our_stderr, stderr = make_pipe(reader_is_ours=True)
    except OSError:
        close_all(opened)
        raise
    return Stdio((program, stdout, stderr), ours, {frames.STDOUT: our_stdout, frames.STDERR: our_stderr})


def open_terminal(terminal_size: TerminalSize, uid: int) -> Stdio:
    """One pseudo-terminal, pty(7), in the node's own /dev/pts, where ttyname(3) finds it.  Raises: OSError.

    uid: its owner, as after login(1); only root can give it to another user.
    """
    opened: list[int] = []
    try:
        ours, program = os.openpty()
        opened += [ours, program]
        if os.geteuid() == 0:
            os.fchown(program, uid, -1)
        resize(ours, terminal_size)
        for source in (program, program, ours):
            opened.append(os.dup(source))
        again, third, our_input = opened[2:]
        return Stdio((program, again, third), our_input, {frames.STDOUT: ours})
    except OSError:
        close_all(opened)
        raise


def resize(terminal: int, terminal_size: TerminalSize) -> None:
    """tty_ioctl(4); the kernel sends SIGWINCH to the foreground process group."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", terminal_size.rows, terminal_size.columns, 0, 0))
