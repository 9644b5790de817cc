"""The file that a program's name means, by the rules of a shell: POSIX XCU 2.9.1.4."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Final

from gproc.bundle.image import Image, Walk
from gproc.bundle.surroundings import Surroundings
from gproc.errors import BundleError, ProgramNotExecutable, ProgramNotFound
from gproc.shown import quoted_text, shown_text

DEFAULT_PATH: Final = "/bin:/usr/bin"
"""The directories that execvp(3) searches if PATH is not set."""


def find(image: Image, name: str, path: str, absolute: Callable[[str], str]) -> str:
    """The absolute path of a program in the image, with the links in it.

    name: a path if it has a slash; else it is sought in the directories of `path`, where "" is the working directory.
    Raises: ProgramNotFound; ProgramNotExecutable if only files were found that cannot be run.
    """
    return _checked(image, absolute(name)) if "/" in name else _searched(image, name, path, absolute)


def found(image: Image, surroundings: Surroundings, name: str) -> str | None:
    """Another program that the command runs; None if there is none here: the node may have one."""
    path = surroundings.variable("PATH") or DEFAULT_PATH
    try:
        return find(image, name, path, surroundings.absolute)
    except (ProgramNotFound, ProgramNotExecutable):
        return None


def _checked(image: Image, path: str) -> str:
    try:
        walk = image.walk(path)
    except BundleError as error:  # its links do not come to an end
        raise ProgramNotExecutable(str(error)) from error
    if walk is None:
        raise ProgramNotFound(f"{image.shown(path)}: no such program")
    reason = _obstacle(image, walk)
    if reason:
        raise ProgramNotExecutable(f"{image.shown(path)}: {reason}")
    return path


def _searched(image: Image, name: str, path: str, absolute: Callable[[str], str]) -> str:
    obstacle = ""
    for directory in path.split(":"):
        full = f"{absolute(directory).rstrip('/')}/{name}"
        walk = image.search(os.path.dirname(full) or "/", name) if name else None
        if walk is None or stat.S_ISDIR(walk.status.st_mode):
            continue
        reason = _obstacle(image, walk)
        if not reason:
            return full
        obstacle = obstacle or f"{image.shown(full)}: {reason}"
    if obstacle:
        raise ProgramNotExecutable(obstacle)
    raise ProgramNotFound(f"{quoted_text(name)}: no such program in PATH ({shown_text(path)})")


def _obstacle(image: Image, walk: Walk) -> str:
    """Why a file cannot be run; "" if it can."""
    if stat.S_ISDIR(walk.status.st_mode):
        return "is a directory, not a program"
    if not stat.S_ISREG(walk.status.st_mode):
        return "is not a file, so it cannot be a program"
    if not os.access(image.host(walk.real), os.X_OK, effective_ids=True):
        return f"is not executable for you (mode {stat.S_IMODE(walk.status.st_mode):o}); chmod +x makes it so"
    return ""
