"""node: the packages that a script requires, each with those that it depends on, from node_modules.

Source: the documentation of node, "Loading from node_modules folders".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from gproc.bundle.home import Installation
from gproc.bundle.image import Image
from gproc.bundle.texts.beside import modules_in

_REQUIRED: Final = re.compile(
    rb"""(?:require|import)\s{0,40}\(?\s{0,40}["']([\w@][^"'\n]{0,200})["']"""
    rb"""|\bfrom\s{1,40}["']([\w@][^"'\n]{0,200})["']"""
)
_IN_PACKAGE: Final = re.compile(r"(/.*)/node_modules/((?:@[^/]+/)?[^/]+)/")
_TEXT_BYTES_MAX: Final = 1 << 20
_PACKAGES_MAX: Final = 5000
_SOURCES: Final = (".js", ".mjs", ".cjs")
_SOURCES_MAX: Final = 200
_OMITTED: Final = re.compile(r"/(\.cache|\.bin|test|tests|docs?)$")


class _Package(msgspec.Struct):
    dependencies: dict[str, str] = {}
    optionalDependencies: dict[str, str] = {}
    peerDependencies: dict[str, str] = {}


def packages_of(image: Image, texts: list[tuple[str, bytes]], script: str) -> tuple[Installation, ...]:
    """texts: directories of scripts, and what stands in the scripts.

    script: that runs.  The package that installed it, as npm(1) installs programs, counts too.
    """
    found: dict[str, None] = {}
    todo = [(directory, name) for directory, text in texts for name in _required(text)]
    walk = image.glance(script) if script else None
    if walk is not None and (own := _IN_PACKAGE.match(walk.real)) is not None:
        todo.append((own[1], own[2]))
    while todo and len(found) < _PACKAGES_MAX:
        directory, name = todo.pop()
        at = _found(image, directory, name)
        if at is None or at in found:
            continue
        found[at] = None
        text = image.content(f"{at}/package.json", _TEXT_BYTES_MAX) or b"{}"
        try:
            package = msgspec.json.decode(text, type=_Package)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        todo += _required_in(image, at)
        needed = {**package.dependencies, **package.optionalDependencies, **package.peerDependencies}
        todo += [(at, each) for each in needed]
    return tuple(Installation(at, _OMITTED) for at in found)


def _required_in(image: Image, at: str) -> Iterator[tuple[str, str]]:
    """What the sources of a package of the project require: a workspace, which npm links into node_modules."""
    walk = image.glance(at)
    if walk is None or "/node_modules/" in walk.real:
        return
    sources = [path for path, _ in modules_in(image, walk.real) if path.endswith(_SOURCES)]
    for path in sources[:_SOURCES_MAX]:
        for name in _required(image.text(path, _TEXT_BYTES_MAX)):
            yield os.path.dirname(path), name


def _required(text: bytes) -> Iterator[str]:
    for groups in _REQUIRED.findall(text[:_TEXT_BYTES_MAX]):
        parts = os.fsdecode(groups[0] or groups[1]).split("/")
        yield "/".join(parts[:2] if parts[0].startswith("@") else parts[:1])


def _found(image: Image, directory: str, name: str) -> str | None:
    while True:
        at = f"{directory.rstrip('/')}/node_modules/{name}"
        if image.is_directory(at):
            return at
        if directory in ("", "/"):
            return None
        directory = os.path.dirname(directory)
