"""What goes into the bundle beside the program: items of `-f` (`dir` is a tree, `dir/.` an empty directory), and what
files name that the command names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from gproc.bundle import beside, java
from gproc.bundle.entries import BundleEntries
from gproc.bundle.image import Image
from gproc.bundle.surroundings import Surroundings
from gproc.errors import BundleError


def add(image: Image, layout: BundleEntries, item: str, absolute: Callable[[str], str]) -> str:
    """Add one item.  A relative path is relative to the working directory, here and on the nodes.

    Returns the real path.  Raises: BundleError, which names the item.
    """
    path = absolute(item)
    if image.walk(path) is None:
        if not image.host("") and os.path.exists(path):
            # For example /dev/fd/63, which a shell makes of <(...): the file has no name.
            raise BundleError(f"-f {image.shown(path)}: is a pipe of this process; write it to a file first")
        raise BundleError(f"-f {image.shown(path)}: no such file or directory")
    if item.endswith("/."):
        return layout.add(path, "-f, the directory alone")
    return layout.add_tree(path, f"-f {item}")


def named_by(
    image: Image, layout: BundleEntries, surroundings: Surroundings, files: Sequence[str]
) -> Iterator[str]:
    """Add what the files name that the command names: lists, settings, sources, decks of input."""
    for path in files:
        walk = image.walk(path)
        if walk is None:
            continue
        places = surroundings.absolute(""), surroundings.variable("HOME") or ""
        if path.endswith((".jar", ".class")):
            found = beside.named_in(image, os.fsdecode(java.strings_of(image, path)), "java", *places)
        elif walk.status.st_size > beside.TEXT_BYTES_MAX or walk.status.st_mode & 0o111:
            continue
        else:
            found = beside.named_by(image, [walk.real], beside.language_of(path), *places)
        for each in found.files:
            yield layout.add(each, f"named by {path}")
