"""What a program reads and writes: pipes, or one terminal; both ends, before anybody uses them."""

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
    """Descriptors; whoever gets this owns them.

    program: the program's ends, as 0, 1 and 2.  input: where its input is written; -1 where it has none.
    outputs: where what it says is read, by stream.
    """

    program: tuple[int, int, int]
    input: int
    outputs: dict[int, int]

    def close(self) -> None:
        close_all([*self.program, self.input, *self.outputs.values()])


def open_pipes(*, stdin: bool) -> Stdio:
    """stdin: whether anything will be written to it; else it is empty.  Raises: OSError."""
    opened: list[int] = []
    try:
        ours, program = make_pipe(reader_is_ours=False) if stdin else (-1, open_null())
        opened += [ours, program]
        our_stdout, stdout = make_pipe(reader_is_ours=True)
        opened += [our_stdout, stdout]
        our_stderr, stderr = make_pipe(reader_is_ours=True)
    except OSError:
        close_all(opened)
        raise
    return Stdio((program, stdout, stderr), ours, {frames.STDOUT: our_stdout, frames.STDERR: our_stderr})


def open_terminal(terminal_size: TerminalSize, uid: int) -> Stdio:
    """One pseudo-terminal, pty(7), of the node's own /dev/pts, where ttyname(3) finds it.  Raises: OSError.

    uid: whose it is to be, as after login(1); only root can give it away.
    """
    opened: list[int] = []
    try:
        ours, program = os.openpty()
        opened += [ours, program]
        if os.geteuid() == 0:
            os.fchown(program, uid, -1)
        resize(ours, terminal_size)
        opened += [again := os.dup(program), third := os.dup(program)]
        return Stdio((program, again, third), os.dup(ours), {frames.STDOUT: ours})
    except OSError:
        close_all(opened)
        raise


def resize(terminal: int, terminal_size: TerminalSize) -> None:
    """tty_ioctl(4); the kernel sends SIGWINCH to those in the foreground."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", terminal_size.rows, terminal_size.columns, 0, 0))
