"""The parts of NODES: paths of places, and words that stand for nodes.  Pure.

`@failed` stands for the nodes on which a job has failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from gproc.errors import SpecError
from gproc.nodespec import SHOWN_CHARACTERS, TEXT_BYTES_MAX, NodeSpec

FAILED: Final = "@failed"


_OF_PATHS: Final = frozenset("0123456789.-/,=")


class MeantNodes(msgspec.Struct, frozen=True):
    """What NODES and --exclude mean, as paths of places."""

    nodes: str
    exclude: str = ""


def is_plain(text: str) -> bool:
    """Whether it has no word that stands for nodes, so that nobody need be asked."""
    return _OF_PATHS.issuperset(text)


def is_specification(text: str) -> bool:
    """Whether NODES may be written so."""
    try:
        Words.parse(text)
    except SpecError:
        return False
    return True


class Words(msgspec.Struct, frozen=True):
    """paths: the parts that are paths, joined by commas.  failed: whether `@failed` is one of the parts."""

    paths: str
    failed: bool = False

    @classmethod
    def parse(cls, text: str) -> Words:
        """Raises: SpecError at the first character that cannot stand there."""
        if len(text) > TEXT_BYTES_MAX:
            raise SpecError(text[:SHOWN_CHARACTERS], 0, f"more than {TEXT_BYTES_MAX} characters")
        parts = [part for _, part in _parts(text)]
        paths = [part for part in parts if part != FAILED]
        if paths or not parts:
            NodeSpec.parse(text.replace(FAILED, _AS_LONG) if len(paths) < len(parts) else text)
        return cls(",".join(paths), len(paths) < len(parts))


_AS_LONG: Final = "1" * len(FAILED)
"""A path as long as that word, so that an error in another part shows the right position."""


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """The parts between commas, each with its position."""
    begin = 0
    for part in text.split(","):
        yield begin, part
        begin += len(part) + 1


def joined(*texts: str) -> str:
    """One specification of several; "" is none."""
    return ",".join(text for text in texts if text)
