"""Paths that are no file to be replaced: devices, pipes, and what /dev/stdout leads to."""

from __future__ import annotations

import os
import stat
from typing import Final

_DESCRIPTORS: Final = ("/dev", "/dev/fd", "/proc/self/fd")


def output_path(named: str) -> str:
    """The file that a person names for output: "-" is standard output."""
    return "/dev/stdout" if named == "-" else named


def is_written_in_place(path: str) -> bool:
    """Whether no new file may be renamed to this path: it would replace a device or a pipe, or /dev/stdout itself."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    if stat.S_ISDIR(mode):
        return False
    return not stat.S_ISREG(mode) or is_of_descriptors(path)


def is_of_descriptors(path: str) -> bool:
    """Whether this names what the caller has open already, as /dev/stdout does."""
    return os.path.dirname(os.path.abspath(path)) in _DESCRIPTORS
