"""Which of the files that texts and programs may mean go along.  A guess takes no secret, and lets no command fail.

Words that are paths, and -f, are no guesses: what these name goes along, or the command fails with the reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Final

from gproc.bundle import set_id
from gproc.bundle.hidden import has_hidden
from gproc.bundle.image import Image
from gproc.bundle.surroundings import Surroundings
from gproc.content.paths import within

BYTES_MAX: Final = 100 << 20
"""What one program and all that it names may bring along; more is asked for by -f."""

_ABSENT_MAX: Final = 300
"""Names that are nothing yet: a later run notices if they have become files or directories."""


def can_go(image: Image, path: str) -> bool:
    """Whether a path leads to a regular file that the caller may read, and that sets no user or group."""
    walk = image.glance(path)
    if walk is None or not stat.S_ISREG(walk.status.st_mode):
        return False
    if image.is_readable(path) and not set_id.has(image, path):
        return True
    image.trace_content(walk.real, walk.status)  # its mode may change
    return False


def is_left_out(image: Image, omits: Callable[[str], bool], path: str) -> bool:
    """Whether a path of a library is omitted, or leads to what the caller may not read: it may be another user's."""
    if omits(path):
        return True
    walk = image.glance(path)
    return walk is not None and not os.access(image.host(walk.real), os.R_OK, effective_ids=True)


class Mentioned:
    """What one program, and what it names, may bring along: each file once, all with one bound.

    own: directories of programs and scripts that run.  What lies there is not hidden from them: ~/.local/bin.
    """

    def __init__(self, image: Image, surroundings: Surroundings, own: Iterable[str] = ()) -> None:
        self.image = image
        self._surroundings = surroundings
        self._own = tuple(own)
        self._taken: dict[str, bool] = {}
        self._left_bytes = BYTES_MAX
        self._left_absent = _ABSENT_MAX

    @cached_property
    def cwd(self) -> str:
        return self._surroundings.absolute("").rstrip("/")

    @cached_property
    def home(self) -> str:
        """The caller's; "" if there is none."""
        home = self._surroundings.variable("HOME") or ""
        return home.rstrip("/") if home.startswith("/") else ""

    def take(self, path: str, size_bytes: int) -> bool:
        """Whether a file goes along.  The answer for a path stays the same; a file counts to the bound once."""
        if path not in self._taken:
            fits = size_bytes <= self._left_bytes
            self._taken[path] = fits and can_go(self.image, path) and not self.is_hidden(path)
            self._left_bytes -= size_bytes if self._taken[path] else 0
        return self._taken[path]

    def expect(self, path: str) -> None:
        """Remember a name that is nothing yet, so that the cache's answer does not hold when it is something."""
        if self._left_absent and self.image.glance(path) is None:
            self._left_absent -= 1
            self.image.note_absent(path)

    def is_hidden(self, path: str) -> bool:
        walk = self.image.glance(path)
        names = (path, walk.real) if walk is not None else ()
        return walk is None or any(has_hidden(self._below_top(os.path.normpath(each)).split("/")) for each in names)

    def _below_top(self, path: str) -> str:
        """The part below the working directory, the home, or where the program lies; "" for a path elsewhere."""
        longest = max((len(top) for top in self._tops if within(path, top)), default=len(path))
        return path[longest:]

    @cached_property
    def _tops(self) -> frozenset[str]:
        """As they are named, and without links."""
        named = [each for each in (self.cwd, self.home, *self._own) if each.strip("/")]
        walks = [self.image.glance(each) for each in named]
        return frozenset((*named, *(walk.real for walk in walks if walk is not None and walk.real != "/")))
