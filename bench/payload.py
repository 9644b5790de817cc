"""Programs and files that no node has: what makes a run cold, however often it is repeated.

A node copies a file from its own disk where it has it identically, and here all nodes have the disk of the front
end.  So a cold program is a copy of one and of its libraries in a foreign root (`-r`) with some random bytes behind
each file's end, where neither kernel nor loader looks.
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
    """A new root at `place` in which this program and its libraries are at their own paths, and unlike any other's."""
    for path in _closure(program):
        copy = place + path
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copy(path, copy)
        with open(copy, "ab") as file:
            file.write(os.urandom(_TRAILER_BYTES))
    return place


def random_file(path: str, size_bytes: int) -> None:
    """Bytes that no compression shortens and no store has."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        for offset in range(0, size_bytes, MIB):
            file.write(os.urandom(min(MIB, size_bytes - offset)))


def size_of(root: str) -> int:
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(root) for name in names)


def _closure(program: str) -> list[str]:
    """The program and what ldd(1) finds for it.  Its lines: `NAME => PATH (ADDRESS)`, the loader's `PATH (ADDRESS)`."""
    listed = subprocess.run(["ldd", program], capture_output=True, check=True, text=True).stdout
    words = (word for line in listed.splitlines() for word in line.split())
    return [program, *sorted({word for word in words if word.startswith("/")})]
