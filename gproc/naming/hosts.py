"""Host names: which texts are one, and many of them folded as ClusterShell's NodeSet reads them: kn[1-20].  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gproc.boxes import Box, merged

NAME_CHARACTERS_MAX: Final = 253
"""The limit of a DNS name: RFC 1035."""

DIGITS_MAX: Final = 18
"""A longer number in a name is only text."""

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_NUMBER: Final = re.compile(r"([0-9]+)")


def is_host(text: str) -> bool:
    """Whether it can be the name of a host, and is no number."""
    fine = len(text) <= NAME_CHARACTERS_MAX and _NAME.fullmatch(text) is not None
    return fine and any(character.isalpha() for character in text)


def fold_hosts(names: Iterable[str]) -> str:
    """A text that stands for exactly these: kn[1-20],login1; "" for none."""
    split = [_NUMBER.split(name) for name in dict.fromkeys(names)]
    padded = {
        (_shape(parts), index, len(part))
        for parts in split
        for index, part in enumerate(parts)
        if index % 2 and part.startswith("0") and len(part) > 1
    }
    alike: dict[tuple[tuple[str, ...], tuple[int, ...]], list[Box]] = {}
    for parts in split:
        shape = _shape(parts)
        widths = tuple(
            len(part) if (shape, index, len(part)) in padded else 0 for index, part in enumerate(parts) if index % 2
        )
        box = tuple((int(part), int(part)) for index, part in enumerate(parts) if index % 2)
        alike.setdefault((shape, widths), []).append(box)
    return ",".join(text for (shape, widths), boxes in sorted(alike.items()) for text in _texts(shape, widths, boxes))


def _shape(parts: list[str]) -> tuple[str, ...]:
    """What is beside the numbers.  A number that is too long belongs to it, and has no fellow."""
    return tuple(part if index % 2 == 0 or len(part) > DIGITS_MAX else "" for index, part in enumerate(parts))


def _texts(shape: tuple[str, ...], widths: tuple[int, ...], boxes: list[Box]) -> list[str]:
    if not widths:
        return ["".join(shape)]
    # Boxes that differ in their last number alone share one pair of brackets.
    ranges: dict[Box, list[str]] = {}
    for box in merged(boxes):
        ranges.setdefault(box[:-1], []).append(_range(*box[-1], widths[-1]))
    texts = []
    for box, last in ranges.items():
        numbers = [_bracketed([_range(*level, width)]) for level, width in zip(box, widths, strict=False)]
        numbers.append(_bracketed(last))
        texts.append("".join(_pieces(shape, numbers)))
    return texts


def _pieces(shape: tuple[str, ...], numbers: list[str]) -> Iterable[str]:
    for index, text in enumerate(shape):
        yield text if index % 2 == 0 or text else numbers[index // 2]


def _range(first: int, last: int, width: int) -> str:
    return f"{first:0{width}}" if first == last else f"{first:0{width}}-{last:0{width}}"


def _bracketed(ranges: list[str]) -> str:
    text = ",".join(ranges)
    return f"[{text}]" if "-" in text or "," in text else text
