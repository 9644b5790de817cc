"""Paths and messages in one line of text, whatever bytes somebody chose for a file's name.  Pure."""

from __future__ import annotations


def shown(path: bytes) -> str:
    """A path for people: UTF-8 as it is, all that a terminal might obey or that would break the line escaped."""
    text = path.decode(errors="backslashreplace")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
