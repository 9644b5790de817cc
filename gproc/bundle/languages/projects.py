"""Files that an interpreter looks for by itself above its script or in the working directory: those of a project.

Sources: the documentation of node, "Determining module system"; bundle-config(1).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from gproc.bundle.image import Image
from gproc.bundle.texts.beside import TEXT_BYTES_MAX

_ABOVE: Final = {"node": ("package.json",)}
"""Nearest above the script."""

_OF_BUNDLER: Final = ("Gemfile", "Gemfile.lock", ".bundle/config")


def projects_of(image: Image, script: str, language: str, cwd: str) -> tuple[str, ...]:
    """script: a real path."""
    found = list(_nearest(image, os.path.dirname(script), _ABOVE.get(language, ())))
    if language == "ruby" and b"bundler" in image.text(script, TEXT_BYTES_MAX):
        found += [path for name in _OF_BUNDLER if image.is_file(path := f"{cwd.rstrip('/')}/{name}")]
    return tuple(found)


def _nearest(image: Image, directory: str, names: tuple[str, ...]) -> Iterator[str]:
    while names and directory not in ("", "/"):
        found = [path for name in names if image.is_file(path := f"{directory}/{name}")]
        if found:
            yield from found
            return
        directory = os.path.dirname(directory)
