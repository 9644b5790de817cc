"""Programs and files that no node has: each run with new ones is cold.

A node takes a file from its own disk if it has an identical one, and here all nodes share the disk of the front end.
So a cold program is a copy of a program and its libraries in a foreign root (`-r`), with random bytes behind the end of
each file, which neither the kernel nor the loader reads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

from bench.figures import MIB

DATE: Final = "/bin/date"
_TRAILER_BYTES: Final = 16


def cold_root(place: str, program: str = DATE) -> str:
    """Make a new root at `place` with unique copies of the program and its libraries, at their own paths."""
    for path in _closure(program):
        copy = place + path
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copy(path, copy)
        with open(copy, "ab") as file:
            file.write(os.urandom(_TRAILER_BYTES))
    return place


def random_file(path: str, size_bytes: int) -> None:
    """Write bytes that cannot be compressed and are in no store."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        for offset in range(0, size_bytes, MIB):
            file.write(os.urandom(min(MIB, size_bytes - offset)))


def size_of(root: str) -> int:
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(root) for name in names)


def _closure(program: str) -> list[str]:
    """The program and its libraries by ldd(1), which prints lines `NAME => PATH (ADDRESS)` and `PATH (ADDRESS)`."""
    listed = subprocess.run(["ldd", program], capture_output=True, check=True, text=True).stdout
    words = (word for line in listed.splitlines() for word in line.split())
    return [program, *sorted({word for word in words if word.startswith("/")})]
