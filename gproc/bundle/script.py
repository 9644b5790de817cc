"""`#!` lines, as values: no file is read.

Sources: execve(2), "Interpreter scripts"; fs/binfmt_script.c.
"""

from __future__ import annotations

import os
import re
from typing import Final

import msgspec

from gproc.errors import BundleError

LINE_BYTES: Final = 256
"""The part of a file that the kernel reads to find its interpreter (BINPRM_BUF_SIZE since Linux 5.1)."""
DEPTH_MAX: Final = 5
"""Interpreters of interpreters before ELOOP: fs/exec.c, exec_binprm."""


class Shebang(msgspec.Struct, frozen=True):
    """interpreter: a path as written; argument: the rest of the line without blanks at both ends, or ""."""

    interpreter: str
    argument: str


def shebang(head: bytes, script: str) -> Shebang | None:
    """The interpreter that the first `LINE_BYTES` of a file name; None if they name none, as "#!" alone.

    Raises: BundleError if the line is longer than the kernel reads.
    """
    if not head.startswith(b"#!"):
        return None
    line, end, _ = head[2:LINE_BYTES].partition(b"\n")
    text = line.strip(b" \t")
    interpreter, _, argument = text.replace(b"\t", b" ", 1).partition(b" ")
    if not end and len(head) >= LINE_BYTES and not argument:
        raise BundleError(f"{script}: its #! line is longer than the {LINE_BYTES} bytes that the kernel reads")
    return None if not interpreter else Shebang(os.fsdecode(interpreter), os.fsdecode(argument.strip(b" \t")))

SHELL: Final = "/bin/sh"
"""The shell by which execvp(3), and every shell, runs a text file whose first line names no interpreter."""

_BEHIND_SHELL: Final = re.compile(rb"#![^\n]*/sh\n'''exec' \"?(/[^\"\n ]+)\"? ")


def without_line(head: bytes) -> Shebang | None:
    """The interpreter of a file that names none; None if it is no text, which no shell runs either."""
    return None if b"\0" in head else Shebang(SHELL, "")


def behind_shell(head: bytes) -> str:
    """The interpreter of pip's scripts whose path is too long for a `#!` line, or has a blank in it; "" for others.

    Source: pip's distlib, `_build_shebang`: a shell runs the script, and has the interpreter run it again.
    """
    match = _BEHIND_SHELL.match(head)
    return os.fsdecode(match[1]) if match is not None else ""
