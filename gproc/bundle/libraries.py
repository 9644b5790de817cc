"""Interpreters by rules: where each keeps its library, below the prefix that it was installed in.  A table.

Python, Perl and node have modules of their own.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from typing import Final

from gproc.bundle.home import Home, Installation
from gproc.bundle.image import Image

_OMITTED: Final = re.compile(r"/(doc|docs|man|help|html|demos?|tests?|examples?|po|locale)$|\.(h|a|la|pod|R[dD])$")

_LIBRARIES: Final = (
    (re.compile(r"(tclsh|wish)[\d.]*"), ("share/tcltk", "lib/tcltk", "lib/tcl8*", "lib/tk8*", "lib/*-linux-*/tcltk")),
    (
        re.compile(r"ruby[\d.]*"),
        ("lib/ruby", "lib/*-linux-*/ruby", "share/ruby", "share/rubygems-integration", "/var/lib/gems"),
    ),
    (re.compile(r"lua([\d.]*|jit)"), ("share/lua", "lib/lua", "lib/*-linux-*/lua", "local/share/lua", "local/lib/lua")),
    (re.compile(r"php[\d.]*"), ("lib/php", "lib/*-linux-*/php", "share/php", "/etc/php", "/var/lib/php/modules")),
    (re.compile(r"Rscript|R"), ("lib/R", "share/R", "/etc/R", "local/lib/R/site-library")),
    (re.compile(r"guile[\d.-]*"), ("share/guile", "lib/guile", "lib/*-linux-*/guile")),
    (re.compile(r"zsh[\d.-]*"), ("share/zsh", "lib/zsh", "lib/*-linux-*/zsh")),
    (re.compile(r"gawk[\d.-]*"), ("share/awk", "lib/gawk", "lib/*-linux-*/gawk")),
    (re.compile(r"fish"), ("share/fish", "/etc/fish")),
    (re.compile(r"bash"), ("lib/bash",)),
)
"""A program's real name, and directories below its prefix, or absolute ones; `*` stands for any one name."""

_JAVA: Final = re.compile(r"java|javac|jar|javap|jshell")
_JAVA_OMITTED: Final = re.compile(r"/(demo|man|legal|jmods|include)$|/src\.zip$")


def library_of(image: Image, real: str) -> Home | None:
    """The library of the interpreter at a real path; None if none is known for its name."""
    name = os.path.basename(real)
    prefix = os.path.dirname(os.path.dirname(real)) or "/usr"
    if prefix == "/":
        prefix = "/usr"
    if _JAVA.fullmatch(name):
        return Home((Installation(prefix, _JAVA_OMITTED),)) if image.is_directory(f"{prefix}/lib") else None
    for pattern, places in _LIBRARIES:
        if pattern.fullmatch(name):
            trees = [each for place in places for each in _existing(image, place, prefix)]
            return Home(tuple(Installation(each, _OMITTED) for each in trees))
    return None


def _existing(image: Image, place: str, prefix: str) -> Iterator[str]:
    """The directories that a place of the table means."""
    found = [""] if place.startswith("/") else [prefix]
    for part in place.strip("/").split("/"):
        if "*" in part:
            found = [
                f"{each}/{name}" for each in found for name in image.names(each) if fnmatch.fnmatchcase(name, part)
            ]
        else:
            found = [f"{each}/{part}" for each in found]
    yield from (each for each in found if image.is_directory(each))
