"""Files that an interpreter looks for by itself above its script or in the working directory: those of a project.

Sources: the documentation of node, "Determining module system"; bundle-config(1).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from gproc.bundle.image import Image

_TEXT_BYTES_MAX: Final = 1 << 20
_ABOVE: Final = {"node": ("package.json",)}
"""Nearest above the script."""

_OF_BUNDLER: Final = ("Gemfile", "Gemfile.lock", ".bundle/config")


def projects_of(image: Image, script: str, language: str, cwd: str) -> tuple[str, ...]:
    """script: a real path."""
    found = list(_nearest(image, os.path.dirname(script), _ABOVE.get(language, ())))
    if language == "ruby" and b"bundler" in image.text(script, _TEXT_BYTES_MAX):
        found += [path for name in _OF_BUNDLER if _is_file(image, path := f"{cwd.rstrip('/')}/{name}")]
    return tuple(found)


def _nearest(image: Image, directory: str, names: tuple[str, ...]) -> Iterator[str]:
    while names and directory not in ("", "/"):
        found = [path for name in names if _is_file(image, path := f"{directory}/{name}")]
        if found:
            yield from found
            return
        directory = os.path.dirname(directory)


def _is_file(image: Image, path: str) -> bool:
    walk = image.glance(path)
    return walk is not None and stat.S_ISREG(walk.status.st_mode)
