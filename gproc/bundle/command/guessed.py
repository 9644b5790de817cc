"""Which files a guess may take: those that only belong to what a word or a variable names.

Nobody asked for such a file, so it must neither fail a job nor bring a secret: what the caller cannot read stays here,
and what is hidden, by the path that leads to it or by the one that a link leads to.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from typing import Final

from gproc.bundle.hidden import has_hidden, is_hidden
from gproc.content.paths import within

ENTRIES_MAX: Final = 5000
"""Names of all kinds in a directory and below it; one with more is asked for by -f."""


class Guesses:
    """own: the working directory and the home.  What is hidden above them is where the caller works, and no secret."""

    def __init__(self, own: Sequence[str]) -> None:
        places = dict.fromkeys(place for each in own if each for place in (each, os.path.realpath(each)))
        self._own = [_parts(place) for place in places]

    def size(self, path: str) -> int | None:
        """The size of a file that may be taken, else None.  path: absolute."""
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # it is gone, or its links do not come to an end
            return None
        is_open = stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK, effective_ids=True)
        return status.st_size if is_open and self.is_visible(path) else None

    def is_visible(self, path: str) -> bool:
        return not any(self._is_hidden(each) for each in {path, os.path.realpath(path)})

    def below(
        self, directory: str, most: int, wanted: re.Pattern[str] | None = None, entries_max: int = ENTRIES_MAX
    ) -> list[tuple[str, int]] | None:
        """The files in a directory and below it, with their sizes; None if there are too many: a part is of no use.

        Links that lead out of the directory are left out, and those to directories.
        """
        real = os.path.realpath(directory)
        found: list[tuple[str, int]] = []
        count = 0
        todo = [directory] if self.is_visible(directory) else []
        while todo:
            try:
                with os.scandir(todo.pop()) as entries:
                    for entry in entries:
                        count += 1
                        if count > entries_max:
                            return None
                        if is_hidden(entry.name):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
                        elif wanted is None or wanted.search(entry.name):
                            size = self.size(entry.path) if within(os.path.realpath(entry.path), real) else None
                            found += [(entry.path, size)] if size is not None else []
                        if len(found) > most:
                            return None
            except OSError:  # the caller may not list it
                continue
        return sorted(found)

    def _is_hidden(self, path: str) -> bool:
        parts = _parts(path)
        common = max((_common(parts, each) for each in self._own), default=0)
        return has_hidden(parts[common:])


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
