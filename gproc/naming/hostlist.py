"""Lists of host names as clush and pdsh write them: node[01-20],login1.  Pure.

    <hosts> ::= <name> { "," <name> }
    <name>  ::= text, with any number of [ <range> { "," <range> } ] in it
    <range> ::= <number> | <number> "-" <number>      with the same number of digits if they begin with 0
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Final

from gproc.errors import UsageError
from gproc.shown import quoted_text

HOSTS_MAX: Final = 100_000
"""The most hosts of one list, or of one range of a locale's nodes: an absurd range fails before it fills the memory."""

_RANGE: Final = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_NAME: Final = re.compile(r"[A-Za-z0-9_.@:%-]+")


class BadHosts(UsageError):
    """text: the list.  reason: a clause."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"hosts {quoted_text(text[:60])}: {reason}, as in node[01-20],login1")
        self.text = text
        self.reason = reason


class TooManyHosts(BadHosts):
    def __init__(self, text: str) -> None:
        super().__init__(text, f"more than {HOSTS_MAX} hosts: name fewer at once")


def expand(text: str) -> list[str]:
    """Every host once, in the order in which they are written.  Raises: BadHosts."""
    found: dict[str, None] = {}
    names = itertools.chain.from_iterable(_names(text, word) for word in _words(text))
    for count, name in enumerate(names, 1):
        if count > HOSTS_MAX:  # those that are written twice as well: their text may be long
            raise TooManyHosts(text)
        if not _NAME.fullmatch(name) or name.startswith(("-", "@")):
            what = "names a group, and hosts are wanted" if name.startswith("@") else "is no host name"
            raise BadHosts(text, f"{quoted_text(name)} {what}")
        found[name] = None
    return list(found)


def _words(text: str) -> Iterator[str]:
    """The words between commas that are in no bracket."""
    depth = start = 0
    for index, character in enumerate(f"{text},"):
        depth += (character == "[") - (character == "]")
        if depth not in (0, 1):
            raise BadHosts(text, "a bracket is in another one, or has no partner")
        if character == "," and depth == 0:
            word = text[start:index].strip()
            start = index + 1
            if word:
                yield word
    if depth:
        raise BadHosts(text, "a bracket is not closed")


def _names(text: str, word: str) -> Iterator[str]:
    parts = re.split(r"\[([^\]]*)\]", word)
    choices: list[list[str]] = []
    size = 1
    for index, part in enumerate(parts):
        choices.append(list(itertools.islice(_numbers(text, part), HOSTS_MAX + 1)) if index % 2 else [part])
        size *= len(choices[-1])
        if size > HOSTS_MAX:
            raise TooManyHosts(text)
    return ("".join(each) for each in itertools.product(*choices))


def _numbers(text: str, ranges: str) -> Iterator[str]:
    for each in ranges.split(","):
        match = _RANGE.fullmatch(each.strip())
        if match is None:
            raise BadHosts(text, f"{quoted_text(each)} is no number and no range of two")
        first, last = match[1], match[2] or match[1]
        if int(last) < int(first):
            raise BadHosts(text, f"the range {each} ends before it begins")
        if int(last) - int(first) >= HOSTS_MAX:
            raise TooManyHosts(text)
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        for number in range(int(first), int(last) + 1):
            yield f"{number:0{width}d}" if width else str(number)
