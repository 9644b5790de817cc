"""What lies around the caller's own programs and scripts: the small directory of each, the working directory, and
those that the command names.

No text says what a program opens by names that it makes up, reads or is told by its input; mostly it lies there.  Such
files are guesses, so they are small together, and neither hidden nor less open to others than the program itself.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from gproc import descriptors
from gproc.bundle.command import prefixes
from gproc.bundle.image import Image
from gproc.bundle.meaning import Meant
from gproc.bundle.surroundings import Surroundings
from gproc.bundle.texts import patterns
from gproc.bundle.texts.beside import is_code, is_of_distribution
from gproc.bundle.texts.mentioned import Mentioned
from gproc.content.paths import within

_SHARED: Final = frozenset({"/var/tmp", "/dev/shm", "/var/lib", "/var/cache", "/var/spool", "/var/log"})
"""Directories of all users and programs.  So is each directory of the root, and the homes of others."""

_PARTS: Final = frozenset({"bin", "sbin", "src", "scripts"})
"""Parts of a directory that holds a program's files: `bin/run` reads `share/run/x`."""

_MADE: Final = re.compile(r".*\.(o|a|lo|la|d|pyc)|core(\.\d+)?|(CMakeFiles|__pycache__|node_modules)/")
"""What compilers leave behind, which no program reads, and packages, which rules know.  `src/core/` and `conf.d/` are
directories like others."""

_MAKES_NAMES: Final = re.compile(r"[$`(]")
"""A text without variables, substitutions and calls, `cat data; ls`, opens no more than it names."""

_FILES_MAX: Final = 300
_BYTES_MAX: Final = 20 << 20
"""Of one directory.  One with more is no program's own, and is asked for by -f."""

_WEAK_FILES_MAX: Final = 100
_WEAK_BYTES_MAX: Final = 2 << 20
"""Of one in which a program of the distribution reads a file: settings include others, texts have chapters, scenes have
objects.  That is weaker evidence, so it may cost less."""

_NAMES_MAX: Final = 20_000
"""In a directory in which a loop writes its outputs."""

_DIRECTORIES_MAX: Final = 50
"""That are looked at: scripts may run hundreds of programs."""

_OPEN_TO_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH


class Near(NamedTuple):
    """A file, by its path, and the program around which it lies.

    gives_way: a node's own file of that path is as much what is meant.
    """

    path: str
    program: str
    gives_way: bool


class Around:
    """The programs and scripts that a command runs, noted one by one, and what lies around them."""

    def __init__(self, image: Image, surroundings: Surroundings, meant: Meant) -> None:
        self._image = image
        self._meant = meant
        self._mentioned = Mentioned(image, surroundings)
        self._own: dict[str, os.stat_result] = {}
        """The caller's, by their real paths."""

        self._works_here = False
        self.taken: list[str] = []
        """The directories that go along whole."""

        self.empty: list[str] = []
        """Directories that are empty in those: a program writes its output there, and does not make them."""

    def note(self, programs: Iterable[str]) -> None:
        """Interpreters do not count, wherever they lie: what belongs to them is known by rules."""
        for path in programs if self._meant.around else ():
            walk = self._image.glance(path) if path else None
            if walk is None or is_of_distribution(walk.real) or prefixes.interpreter(os.path.basename(walk.real)):
                continue
            self._own[walk.real] = walk.status

    def note_text(self, code: str, named: Iterable[str]) -> None:
        """A text of the command, `sh -c 'cd run; ./x'`, that names files here opens others by made-up names."""
        if _MAKES_NAMES.search(code) and self._meant.around and not self._works_here:
            self._works_here = any(within(path, self._mentioned.cwd) for path in named)

    def files(self) -> Iterator[Near]:
        """Outside the working directory data gives way: what a program writes there is to be kept."""
        meant = self._meant
        if not meant.around or not (self._works_here or meant.directories or meant.small or self._own):
            return
        cwd = self._real(self._mentioned.cwd)
        here = [cwd] if cwd and self._may_go(cwd) else []
        roots = here if self._works_here or self._own else []
        weak = set(meant.small).difference(roots, meant.directories)
        outputs = descriptors.outputs()
        small: dict[str, bool] = {}
        for directory, program, status in self._looked_at(roots):
            known = directory in small or any(small[each] and within(directory, each) for each in small)
            if known or len(small) == _DIRECTORIES_MAX or not self._may_go(self._real(directory)):
                continue
            found = self._all_of(directory, directory in weak)
            small[directory] = found is not None
            if found is None:
                continue
            self.taken.append(directory)
            is_here = any(within(directory, each) for each in here)
            self.empty += found.empty if is_here else ()
            for path, size in found.files:
                if self._takes(path, size, status, outputs):
                    yield Near(path, program, not is_code(path) and not is_here)

    def _all_of(self, directory: str, is_weak: bool) -> patterns.AllOf | None:
        """Earlier outputs of a loop, `prog $i > out.$i`, go along as long as there is room for them."""
        bounds = (_WEAK_FILES_MAX, _WEAK_BYTES_MAX) if is_weak else (_FILES_MAX, _BYTES_MAX)
        found = patterns.all_of(self._image, directory, *bounds, _MADE)
        if found is not None or not self._meant.series:
            return found
        omitted = re.compile("|".join((_MADE.pattern, *self._meant.series)))
        return patterns.all_of(self._image, directory, *bounds, omitted, _NAMES_MAX)

    def _looked_at(self, roots: list[str]) -> Iterator[tuple[str, str, os.stat_result]]:
        """Directories, each with what it lies around, and whose readers count: the program's, else its own."""
        for program, status in self._own.items():
            for directory in (*roots, *_places(os.path.dirname(program))):
                yield directory, program, status
        first = next(iter(self._own.values()), None)
        for directory in (*roots, *self._meant.directories, *self._meant.small):
            walk = self._image.glance(directory)
            if walk is not None and not self._mentioned.is_hidden(directory):
                yield directory, "the command", first or walk.status

    def _may_go(self, directory: str) -> bool:
        """Whether a directory is one program's or project's, and not that of all that somebody has."""
        home = self._real(self._mentioned.home)
        holds_home = home != "" and within(home, directory)
        is_shared = directory.count("/") < 2 or directory in _SHARED or os.path.dirname(directory) == "/home"
        return not (holds_home or is_shared or is_of_distribution(f"{directory}/"))

    def _takes(self, path: str, size: int, program: os.stat_result, outputs: frozenset[tuple[int, int]]) -> bool:
        walk = self._image.glance(path)
        if walk is None:
            return False
        if (walk.status.st_dev, walk.status.st_ino) in outputs:
            self._image.note_output(walk.real)
            return False
        if program.st_mode & ~walk.status.st_mode & _OPEN_TO_OTHERS:
            self._image.trace_content(walk.real, walk.status)  # its mode may change
            return False
        return self._mentioned.take(path, size)

    def _real(self, directory: str) -> str:
        walk = self._image.glance(directory) if directory else None
        return walk.real if walk is not None else ""


def _places(directory: str) -> Iterator[str]:
    if os.path.basename(directory) in _PARTS:
        yield os.path.dirname(directory)
    yield directory
