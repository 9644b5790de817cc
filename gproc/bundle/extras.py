"""`-f`: files, trees (`dir`) and empty directories (`dir/.`) that go into the bundle at their own paths."""

from __future__ import annotations

import os
from collections.abc import Callable

from gproc.bundle.entries import BundleEntries
from gproc.bundle.image import Image
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
