"""Files that a script of the caller names in its text: beside it, or in the working directory.

Nothing is executed: what counts are strings in quotes, in shell and Tcl all words, and of a directory that a string
names the modules in it.  A string that names nothing is none.  Scripts of the distribution are not read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Final

from gproc.bundle.home import is_shared_object
from gproc.bundle.image import Image
from gproc.content.paths import within

_TEXT_BYTES_MAX: Final = 1 << 20
_SCRIPTS_MAX: Final = 200
_STRINGS_MAX: Final = 2000
"""Strings of one script that are looked for."""

_FILES_BYTES_MAX: Final = 100 << 20

_MODULES_MAX: Final = 2000
"""Names that are looked at in a directory of modules, and below it."""

_MODULES_DEPTH_MAX: Final = 6

_STRING: Final = re.compile(rb"\"([^\"\n]{1,300})\"|'([^'\n]{1,300})'", re.M)
_WORD: Final = re.compile(rb"[^\s;&|<>()\[\]{}\"'`$=]{1,300}")
_OF_WORDS: Final = ("sh", "tcl", "m4")
"""Languages whose strings need no quotes."""
_HEAD: Final = re.compile(
    r"(?:\$\(dirname (?:--? )?(?:\"?\$0\"?|\"?\$\{?BASH_SOURCE(?:\[0\])?\}?\"?)\)|\$\{?FindBin::(?:Real)?Bin\}?"
    r"|\$\{(?:0|BASH_SOURCE(?:\[0\])?)%/\*\}|\$(?:here|HERE|DIR|dir|SCRIPT_DIR)|\$\{(?:here|HERE|DIR|dir|SCRIPT_DIR)\}|\.)?/"
)
"""How scripts write "beside me"."""

_SUFFIXES: Final = {
    "node": (".js", ".mjs", ".cjs", ".json", "/index.js"), "ruby": (".rb",), "lua": (".lua",), "python": (".py",),
}  # fmt: skip
_BESIDE: Final = re.compile(_HEAD.pattern.encode() + rb"([\w./+@%-]{1,300})")
_OF_MODULES: Final = ("python", "perl", "ruby", "lua", "tcl", "R", "php", "guile")
_OF_SCRIPTS: Final = re.compile(r"\.(sh|bash|py|pl|pm|rb|js|mjs|cjs|lua|R|r|tcl|php|awk|zsh|scm)$")
_DISTRIBUTION: Final = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/etc/", "/proc/", "/dev/", "/sys/")


def named_by(image: Image, script: str, language: str, cwd: str) -> tuple[str, ...]:
    """The files that a script names, and those that the scripts among them name.  script: a real path."""
    found: dict[str, None] = {}
    todo = [script]
    left = _FILES_BYTES_MAX
    for _ in range(_SCRIPTS_MAX):
        if not todo:
            break
        here = todo.pop()
        if here.startswith(_DISTRIBUTION):
            continue
        for path, size in _named(image, here, language, cwd):
            if path not in found and path != script and size <= left:
                left -= size
                found[path] = None
                if _OF_SCRIPTS.search(path):
                    todo.append(path)
    return tuple(found)


def modules_in(image: Image, directory: str) -> Iterator[tuple[str, int]]:
    """The scripts and shared objects in a directory and below it, with their sizes."""
    todo = [(directory, 0)]
    seen = 0
    while todo:
        here, depth = todo.pop()
        for name in _names(image, here):
            seen += 1
            if seen > _MODULES_MAX:
                return
            path = f"{here.rstrip('/')}/{name}"
            status = image.lstat(path)
            if status is None or name.startswith(".") or name in ("node_modules", "__pycache__"):
                continue
            if stat.S_ISDIR(status.st_mode) and depth < _MODULES_DEPTH_MAX:
                todo.append((path, depth + 1))
            elif stat.S_ISREG(status.st_mode) and (_OF_SCRIPTS.search(name) or is_shared_object(name)):
                yield path, status.st_size


def _names(image: Image, directory: str) -> list[str]:
    try:
        return sorted(image.names(directory))
    except OSError:  # the caller may not read it, and neither may the script
        return []


def _named(image: Image, script: str, language: str, cwd: str) -> Iterator[tuple[str, int]]:
    text = image.text(script, _TEXT_BYTES_MAX)
    if b"\0" in text:
        return
    beside = dict.fromkeys((os.path.dirname(script), cwd))
    for string in _strings(text, language):
        relative = _HEAD.sub("", string, count=1) if _HEAD.match(string) else string
        if language == "lua":
            relative = relative.partition("?")[0]  # package.path has templates: ./lib/?.lua
        if not relative or relative.startswith(("/", "-", "~")) or "\0" in relative:
            continue
        for directory in beside:
            for path in _spellings(f"{directory.rstrip('/')}/{relative}", language):
                yield from _meant(image, os.path.normpath(path), language, tuple(beside))


def _strings(text: bytes, language: str) -> list[str]:
    found = [next(filter(None, groups), b"") for groups in _STRING.findall(text)[:_STRINGS_MAX]]
    if language in _OF_WORDS:
        found += _WORD.findall(text)[:_STRINGS_MAX]
        found += _BESIDE.findall(text)[:_STRINGS_MAX]
    return sorted(set(map(os.fsdecode, found)))


def _meant(image: Image, path: str, language: str, here: Sequence[str]) -> Iterator[tuple[str, int]]:
    walk = image.glance(path) if not path.startswith(_DISTRIBUTION) else None
    if walk is None:
        return
    if stat.S_ISREG(walk.status.st_mode):
        yield path, walk.status.st_size
    elif stat.S_ISDIR(walk.status.st_mode) and language in _OF_MODULES and not any(within(each, path) for each in here):
        yield from modules_in(image, path)


def _spellings(path: str, language: str) -> Sequence[str]:
    found = [path, *(path + suffix for suffix in _SUFFIXES.get(language, ()))]
    if language == "ruby" and "/../" in path:
        found.append(path.replace("/../", "/", 1))  # File.expand_path("../lib", __FILE__): the script counts as a part
    return found
