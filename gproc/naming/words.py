"""The parts of NODES: paths of places, host names and groups as ClusterShell writes them, and `@failed`.  Pure.

    <nodes> ::= <part> { "," <part> }
    <part>  ::= <path> | "@failed" | <hosts> { ( "!" | "&" | "^" ) <hosts> }
    <hosts> ::= a name with a letter in it and ranges in brackets, kn[01-20], or a group, @rack3 or @source:group

A part that has only digits and `.`, `/`, `-`, `=` is a path (`gproc.nodespec`).  Hosts and groups are combined from
left to right, as NodeSet does it: `,` adds, `!` takes away, `&` keeps what both have, `^` keeps what one of them has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from gproc.errors import SpecError
from gproc.naming.hosts import NAME_CHARACTERS_MAX
from gproc.naming.naming import is_plain
from gproc.nodespec import SHOWN_CHARACTERS, TEXT_BYTES_MAX, NodeSpec
from gproc.shown import quoted_text

FAILED: Final = "@failed"

OURS: Final = "@gproc:"
"""Begins a group of the locale or of the tree; without it, such a group must not be one of ClusterShell too."""

HOSTS_MAX: Final = 20_000
"""That one specification names, counted before anything is taken away: NodeSet expands them one by one, in 0.3 s."""

_ONE_RANGE: Final = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18})(?:/([0-9]{1,9}))?)?")

_COMBINING: Final = "!&^"

_GROUP: Final = re.compile(r"@(?:[A-Za-z0-9_.-]+:)?(?:\*|[A-Za-z0-9_.-]+)")


class Operand(msgspec.Struct, frozen=True):
    """operator: how it is combined with those before it.  text: hosts or a group.  size: how many names it has."""

    operator: str
    text: str
    size: int

    @property
    def is_group(self) -> bool:
        return self.text.startswith("@")

    @property
    def group(self) -> str:
        """The name of a group of ours."""
        return self.text.removeprefix(OURS).removeprefix("@")


class Words(msgspec.Struct, frozen=True):
    """paths: the parts that are paths, joined by commas.  failed: whether `@failed` is one of the parts.
    hosts: the other ones, in order."""

    paths: str
    failed: bool = False
    hosts: tuple[Operand, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Words:
        """Raises: SpecError at the first character that cannot stand there."""
        if len(text) > TEXT_BYTES_MAX:
            raise SpecError(text[:SHOWN_CHARACTERS], 0, f"more than {TEXT_BYTES_MAX} characters")
        if is_plain(text):
            NodeSpec.parse(text)
            return cls(text)
        paths: list[str] = []
        hosts: list[Operand] = []
        failed = False
        for position, operator, part in _split(text):
            if part == FAILED:
                failed = True
            elif not part and (operator in _COMBINING or text[position : position + 1] in tuple(_COMBINING)):
                following = f"before {quoted_text(text[position])}" if position < len(text) else ""
                where = following or f"behind {quoted_text(operator)}"
                raise SpecError(text, position, f"hosts or a group are wanted {where}, as in kn[1-9]!kn3")
            elif is_plain(part):
                _check_path(text, position, part)
                paths.append(part)
            else:
                hosts.append(Operand(operator, part, _size(text, position, part)))
                continue
            if any(character in text for character in _COMBINING):
                raise SpecError(text, position, f"'!', '&' and '^' combine hosts and groups, and {part} is none")
        if sum(operand.size for operand in hosts) > HOSTS_MAX:
            raise SpecError(text[:SHOWN_CHARACTERS], 0, f"more than {HOSTS_MAX} hosts: name fewer at once")
        return cls(",".join(paths), failed, tuple(hosts))


def is_specification(text: str) -> bool:
    """Whether NODES may be written so."""
    try:
        Words.parse(text)
    except SpecError:
        return False
    return True


def joined(*texts: str) -> str:
    """One specification of several; "" is none."""
    return ",".join(text for text in texts if text)


def _split(text: str) -> Iterator[tuple[int, str, str]]:
    """Each part between commas and operators that are in no brackets, with its position and what is before it."""
    begin, operator, inside = 0, ",", False
    for index, character in enumerate(text):
        inside = character == "[" or (inside and character != "]")
        if (character == "," and not inside) or character in _COMBINING:
            yield begin, operator, text[begin:index]
            begin, operator = index + 1, character
    yield begin, operator, text[begin:]


def _check_path(text: str, position: int, part: str) -> None:
    """Raises: SpecError, with the position in the whole text."""
    try:
        NodeSpec.parse(part)
    except SpecError as error:
        raise SpecError(text, position + error.position, error.reason) from error


def _size(text: str, position: int, part: str) -> int:
    """How many names a part has that is no path.  Raises: SpecError if it can be none."""
    size = 1
    plain = ""
    at = 0
    while at < len(part):
        if part[at] == "[":
            end = part.find("]", at)
            if end < 0:
                raise SpecError(text, position + at, "this bracket is not closed")
            size *= _range_size(text, position + at + 1, part[at + 1 : end])
            at = end + 1
            plain += "1"
            continue
        if not _may_stand(part[at], at, group=part.startswith("@")):
            raise SpecError(text, position + at, _why_not(part[at]))
        plain += part[at]
        at += 1
    if len(plain) > NAME_CHARACTERS_MAX:
        raise SpecError(text[:SHOWN_CHARACTERS], 0, f"a host's name has at most {NAME_CHARACTERS_MAX} characters")
    if part.startswith("@"):
        if _GROUP.fullmatch(plain) is None:
            raise SpecError(text, position, "a group's name is wanted, as in @rack3 or @source:group")
    elif not any(character.isalpha() for character in plain):
        reason = "this could be numbers of nodes or names of hosts: write numbers without brackets, as in 1-20"
        raise SpecError(text, position, reason)
    return size


def _range_size(text: str, position: int, ranges: str) -> int:
    size = 0
    for part in ranges.split(","):
        found = _ONE_RANGE.fullmatch(part)
        if found is None:
            raise SpecError(text, position, "ranges of numbers are wanted, as in [1-20] or [01-07,9]")
        first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
        if last < first or not step:
            raise SpecError(text, position, f"the range {part} has no numbers")
        size += (last - first) // step + 1
        position += len(part) + 1
    return size


def _may_stand(character: str, index: int, *, group: bool) -> bool:
    if group and (character in ":*" or (character == "@" and not index)):
        return True
    return character.isascii() and (character.isalnum() or character in "._-")


def _why_not(character: str) -> str:
    match character:
        case "/":
            return "'/' goes down from a number to a number; a host is named alone, wherever it is in the tree"
        case "=":
            return "'=' is for paths of numbers; a host's name selects that host alone in any case"
        case "@":
            return "'@' begins a group, and its name follows"
        case "]":
            return "this bracket was not opened"
        case _ if character.isspace():
            return "spaces are not allowed"
        case _:
            return f"{quoted_text(character)} is in no number, no host's name and no group"
