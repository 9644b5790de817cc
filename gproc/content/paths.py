"""Absolute paths as bytes, compared as text: no link is followed.  Pure."""

from __future__ import annotations


def within(path: bytes, directory: bytes) -> bool:
    """Whether `path` is `directory` or lies below it."""
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")
