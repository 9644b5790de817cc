"""Files that a script of the caller names in its text: beside it, or in the working directory.

Nothing is executed: what counts are strings in quotes and words that a shell sources.  A string that names no file is
none.  Scripts of the distribution are not read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Final

from gproc.bundle.image import Image

_TEXT_BYTES_MAX: Final = 1 << 20
_SCRIPTS_MAX: Final = 200
_STRINGS_MAX: Final = 2000
"""Strings of one script that are looked for."""

_FILES_BYTES_MAX: Final = 100 << 20

_STRING: Final = re.compile(rb"\"([^\"\n]{1,300})\"|'([^'\n]{1,300})'|^[ \t]*(?:\.|source)[ \t]+([^\s;&|\"']+)", re.M)
_HEAD: Final = re.compile(
    r"(?:\$\(dirname (?:--? )?(?:\"?\$0\"?|\"?\$\{?BASH_SOURCE(?:\[0\])?\}?\"?)\)|\$\{?FindBin::(?:Real)?Bin\}?"
    r"|\$\{(?:0|BASH_SOURCE(?:\[0\])?)%/\*\}|\$(?:here|HERE|DIR|dir|SCRIPT_DIR)|\$\{(?:here|HERE|DIR|dir|SCRIPT_DIR)\}|\.)?/"
)
"""How scripts write "beside me"."""

_SUFFIXES: Final = {
    "node": (".js", ".mjs", ".cjs", ".json", "/index.js"), "ruby": (".rb",), "lua": (".lua",), "python": (".py",),
}  # fmt: skip
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


def _named(image: Image, script: str, language: str, cwd: str) -> Iterator[tuple[str, int]]:
    text = image.text(script, _TEXT_BYTES_MAX)
    if b"\0" in text:
        return
    beside = dict.fromkeys((os.path.dirname(script), cwd))
    strings = {os.fsdecode(next(filter(None, groups), b"")) for groups in _STRING.findall(text)[:_STRINGS_MAX]}
    for string in sorted(strings):
        relative = _HEAD.sub("", string, count=1) if _HEAD.match(string) else string
        if not relative or relative.startswith(("/", "-", "~")) or "\0" in relative:
            continue
        for directory in beside:
            for path in _spellings(f"{directory.rstrip('/')}/{relative}", language):
                walk = image.walk(os.path.normpath(path))
                if walk is not None and stat.S_ISREG(walk.status.st_mode) and not path.startswith(_DISTRIBUTION):
                    yield os.path.normpath(path), walk.status.st_size


def _spellings(path: str, language: str) -> Sequence[str]:
    return (path, *(path + suffix for suffix in _SUFFIXES.get(language, ())))
