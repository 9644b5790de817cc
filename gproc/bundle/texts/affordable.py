"""Of the programs that a program may run, as its strings say: those that together are small enough for a guess.

A compiler's name in a message brings 100 MB, and Java's 200.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Final

from gproc.bundle import which
from gproc.bundle.home import Installation
from gproc.bundle.image import Image
from gproc.bundle.libraries import library_of
from gproc.bundle.meaning import Ran
from gproc.bundle.surroundings import Surroundings

BYTES_MAX: Final = 30 << 20
"""Programs with the libraries that rules know for their names, but without shared libraries: some 300 usual tools."""


def affordable(image: Image, surroundings: Surroundings, programs: Iterable[Ran]) -> Iterator[Ran]:
    """A program that is given a script of the caller's is no guess, and goes along whatever its size is."""
    left_bytes = BYTES_MAX
    taken: dict[str, bool] = {}
    directories = (surroundings.variable("PATH") or which.DEFAULT_PATH).split(":")
    for ran in programs:
        path = _found(image, surroundings, directories, ran.name)
        if path is not None and path not in taken and not (ran.script or ran.code):
            size = _size(image, path, surroundings.variable("HOME") or "", left_bytes)
            taken[path] = size <= left_bytes
            left_bytes -= size if taken[path] else 0
        if path is not None and (ran.script or ran.code or taken[path]):
            yield ran


def _found(image: Image, surroundings: Surroundings, directories: Iterable[str], name: str) -> str | None:
    """A quick look, of which no record is kept: most strings are no programs."""
    if "/" in name:
        places = [surroundings.absolute(name)]
    else:
        places = [f"{surroundings.absolute(each)}/{name}" for each in directories if each]
    return next((each for each in places if os.access(image.host(each), os.X_OK)), None)


def _size(image: Image, path: str, home: str, most: int) -> int:
    """As far as `most` is not reached."""
    walk = image.glance(path)
    if walk is None or not stat.S_ISREG(walk.status.st_mode):
        return 0
    size = walk.status.st_size
    library = library_of(image, path, walk.real, home)
    for tree in library.trees if library is not None else ():
        size += _tree_size(image, tree, most - size)
    return size


def _tree_size(image: Image, tree: Installation, most: int) -> int:
    size = 0
    root = image.host(tree.path)
    for top, directories, names in os.walk(root):
        here = tree.path + top[len(root) :]
        directories[:] = [each for each in directories if not tree.omits(f"{here}/{each}")]
        for name in names:
            try:
                size += os.lstat(f"{top}/{name}").st_size
            except OSError:  # it is gone
                continue
        if size > most:
            break
    return size
