"""What goes into the bundle beside the program: items of `-f` (`dir` is a tree, `dir/.` an empty directory), and what
files name that the command names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from gproc.bundle.entries import BundleEntries
from gproc.bundle.image import Image
from gproc.bundle.languages import java
from gproc.bundle.linking.closure import Object
from gproc.bundle.texts import beside, literals
from gproc.bundle.texts.mentioned import Mentioned
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


def named_by(mentioned: Mentioned, files: Iterable[str]) -> dict[str, str]:
    """What the files name that the command names, and why: lists, settings, sources, decks of input."""
    found: dict[str, str] = {}
    for path in files:
        walk = mentioned.image.glance(path)
        if walk is None:
            continue
        if path.endswith((".jar", ".class")):
            named = beside.named_in(mentioned, os.fsdecode(java.strings_of(mentioned.image, path)), "java")
        elif walk.status.st_size > beside.TEXT_BYTES_MAX or walk.status.st_mode & 0o111:
            continue
        else:
            named = beside.named_by(mentioned, [walk.real], beside.language_of(path))
        for each in named.files:
            found.setdefault(each, f"named by {path}")
    return found


def of_program(mentioned: Mentioned, program: Object, said: literals.Literals) -> dict[str, str]:
    """What a compiled program names, and what the files among it name, and why.  Those of these are not read: two may
    name each other."""
    files = dict.fromkeys(literals.files_in(mentioned, program, said), f"named by {program.path}")
    return {**named_by(mentioned, files), **files}
