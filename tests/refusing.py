"""Processes whose kernel does not know some system calls, as an older one: seccomp(2)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

CLOSE_RANGE: Final = 436
PIDFD_OPEN: Final = 434
"""Linux 5.9 and 5.3; the same numbers on every architecture."""

_REFUSE: Final = """
import ctypes, struct
rules = [(0x20, 0, 0, 0)]
for number in {numbers}:
    rules += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050026)]
rules.append((0x06, 0, 0, 0x7FFF0000))
code = b"".join(struct.pack("HBBI", *rule) for rule in rules)
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(len(rules), code))) == 0
"""


def refuse(*numbers: int) -> str:
    """Python code after which these system calls fail with ENOSYS, in its process and those that it starts."""
    return _REFUSE.format(numbers=numbers)


def refusing(program: str, to: Path, *numbers: int) -> str:
    """Write to `to` what becomes `program`, to which these system calls are unknown, with descriptor 40 open."""
    become = f"import os, sys\nos.dup2(2, 40)\nos.execv({program!r}, [{program!r}, *sys.argv[1:]])\n"
    to.write_text(f"#!{sys.executable} -IS\n{refuse(*numbers)}{become}")
    to.chmod(0o755)
    return str(to)
