"""Where a program's name leads, as a shell has it: POSIX XCU 2.9.1.4."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Final

from gproc.bundle.image import Image, Walk
from gproc.errors import ProgramNotExecutable, ProgramNotFound

DEFAULT_PATH: Final = "/bin:/usr/bin"
"""Where execvp(3) looks when PATH is not set."""


def find(image: Image, name: str, path: str, absolute: Callable[[str], str]) -> str:
    """The absolute path, links and all, of a program in the image.

    name: with a slash, a path; else sought in the directories of `path`, an empty one being the working directory.
    Raises: ProgramNotFound; ProgramNotExecutable where there is only something that cannot be run.
    """
    if "/" in name:
        full = absolute(name)
        walk = image.walk(full)
        if walk is None:
            raise ProgramNotFound(f"{image.shown(full)}: no such program")
        reason = _obstacle(image, walk)
        if reason:
            raise ProgramNotExecutable(f"{image.shown(full)}: {reason}")
        return full
    found = ""
    for directory in path.split(":"):
        full = f"{absolute(directory).rstrip('/')}/{name}"
        walk = image.search(os.path.dirname(full) or "/", name) if name else None
        if walk is None or stat.S_ISDIR(walk.status.st_mode):
            continue
        reason = _obstacle(image, walk)
        if not reason:
            return full
        found = found or f"{image.shown(full)}: {reason}"
    if found:
        raise ProgramNotExecutable(found)
    raise ProgramNotFound(f"{name!r}: no such program in PATH ({path})")


def _obstacle(image: Image, walk: Walk) -> str:
    """Why a file cannot be run; "" where it can."""
    if stat.S_ISDIR(walk.status.st_mode):
        return "is a directory, not a program"
    if not stat.S_ISREG(walk.status.st_mode):
        return "is not a file, so it cannot be a program"
    if not os.access(image.host(walk.real), os.X_OK, effective_ids=True):
        return f"is not executable for you (mode {stat.S_IMODE(walk.status.st_mode):o}); chmod +x makes it so"
    return ""
