"""Absolute paths as bytes or text, compared by their letters: no link is followed.  Pure."""

from __future__ import annotations

from typing import AnyStr


def within(path: AnyStr, directory: AnyStr) -> bool:
    """Whether `path` is `directory` or lies below it."""
    slash = "/" if isinstance(directory, str) else b"/"
    return path == directory or path.startswith(directory.rstrip(slash) + slash)
