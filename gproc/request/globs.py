"""Names of files with wildcards, as `gproc e --collect` takes them.  Pure.

Each part of a path is matched as by fnmatch(3) without FNM_PERIOD: `*` and `?` match a leading period too, and never a
slash.  A part `**` stands for any number of directories, also for none.  A glob whose last part has no wildcard also
names a directory, with everything below it; so does one that ends with a slash.

A path is matched part by part, in a time that its length bounds: both a node and its caller match names of the other.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import Final

from gproc.request.spec import PATH_BYTES_MAX
from gproc.shown import shown

ANY_DEPTH: Final = b"**"

_WILD: Final = re.compile(rb"[*?\[]")

States = tuple[frozenset[int], ...]
"""How far each glob has got: the numbers of the parts that may come next."""


def check_glob(glob: bytes) -> None:
    """Raises: ValueError if it can name nothing below a directory."""
    if not glob or b"\0" in glob:
        raise ValueError("an empty glob, or one with a zero byte")
    if len(glob) > PATH_BYTES_MAX:
        raise ValueError(f"{shown(glob[:40])}... has {len(glob)} bytes: a path has at most {PATH_BYTES_MAX}")
    if glob.startswith(b"/"):
        raise ValueError(f"{shown(glob)} is absolute: files of the job's working directory are collected")
    if any(part in (b".", b"..") for part in glob.split(b"/")):
        raise ValueError(f"{shown(glob)} has '.' or '..' as a part")
    if glob.count(ANY_DEPTH) > 8:
        raise ValueError(f"{shown(glob)} has '**' more than eight times")


class Globs:
    """Each must have passed `check_glob`."""

    def __init__(self, globs: tuple[bytes, ...]) -> None:
        self.globs = globs
        self._parts = [_parts_of(glob) for glob in globs]

    def begin(self) -> States:
        """Before the first part of a path."""
        return tuple(self._rested(index, {0}) for index in range(len(self._parts)))

    def enter(self, states: States, name: bytes) -> States:
        """After one more part."""
        text = name.decode("latin-1")
        return tuple(self._stepped(index, reached, text) for index, reached in enumerate(states))

    def below(self, states: States) -> bool:
        """Whether anything below this directory can match."""
        return any(
            at < len(self._parts[index]) for index, reached in enumerate(states) for at in reached
        )

    def matching(self, states: States) -> tuple[int, ...]:
        """The globs that match a file of this path, by their numbers."""
        return tuple(index for index, reached in enumerate(states) if len(self._parts[index]) in reached)

    def at(self, path: bytes) -> States:
        states = self.begin()
        for part in path.split(b"/"):
            states = self.enter(states, part)
        return states

    def _stepped(self, index: int, reached: frozenset[int], name: str) -> frozenset[int]:
        parts = self._parts[index]
        after = set()
        for at in reached:
            if at == len(parts):
                continue
            if (part := parts[at]) is None:
                after.add(at)
            elif part.match(name):
                after.add(at + 1)
        return self._rested(index, after)

    def _rested(self, index: int, reached: set[int]) -> frozenset[int]:
        """`**` may stand for nothing."""
        parts = self._parts[index]
        for at in sorted(reached):
            while at < len(parts) and parts[at] is None:
                at += 1
                reached.add(at)
        return frozenset(reached)


def _parts_of(glob: bytes) -> list[re.Pattern[str] | None]:
    """None: any number of directories."""
    parts = [part for part in glob.split(b"/") if part]
    if glob.endswith(b"/") or not _WILD.search(parts[-1]):
        parts.append(ANY_DEPTH)
    return [None if part == ANY_DEPTH else re.compile(translate(part.decode("latin-1"))) for part in parts]
