"""Directories where an interpreter is told to look: by options of its command line, and by variables.  Pure.

Sources: perlrun(1), ruby(1), guile(1), the manuals of Lua (package.path), Tcl (library(n)), R (Startup) and node.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

_OPTIONS: Final = {"perl": "-I", "ruby": "-I", "guile": "-L"}

_VARIABLES: Final = {
    "perl": ("PERL5LIB",),
    "ruby": ("RUBYLIB", "GEM_PATH", "GEM_HOME"),
    "lua": ("LUA_PATH", "LUA_CPATH"),
    "tcl": ("TCLLIBPATH",),
    "R": ("R_LIBS", "R_LIBS_USER", "R_LIBS_SITE"),
    "guile": ("GUILE_LOAD_PATH", "GUILE_LOAD_COMPILED_PATH"),
    "node": ("NODE_PATH",),
}
_SEPARATORS: Final = {"tcl": r"\s+", "lua": ";"}


def by_options(words: Sequence[str], language: str) -> tuple[str, ...]:
    """The directories that an interpreter's words name, in front of its script."""
    option = _OPTIONS.get(language)
    found = []
    index = 0
    while option is not None and index < len(words) and words[index].startswith("-") and words[index] != "--":
        word = words[index]
        if word == option and index + 1 < len(words):
            index += 1
            found.append(words[index])
        elif word.startswith(option):
            found += word[len(option) :].split(":") if language == "ruby" else [word[len(option) :]]
        index += 1
    return tuple(each for each in found if each)


_OF_COMPILERS: Final = ("-I", "-L", "-isystem", "-iquote", "-J")
_TOOLS: Final = (
    (
        re.compile(
            r"(?:[\w.]+-)*(?:gcc|g\+\+|cc|c\+\+|cpp|gfortran|clang(?:\+\+)?|nvcc|tcc|ifx|ifort|icp?x|nasm|swig)(?:-[\d.]+)?"
        ),
        _OF_COMPILERS,
    ),
    (re.compile(r"mpi(?:cc|cxx|c\+\+|CC|fort|f77|f90)(?:\.\w+)?"), _OF_COMPILERS),
    (re.compile(r"jq"), ("-L",)),
    (re.compile(r"g?m4|protoc|iverilog|dtc"), ("-I",)),
    (re.compile(r"java"), ("-Djava.library.path=",)),
    (re.compile(r"emacs(-\w+|[\d.]+)?"), ("-L", "--directory=")),
    (re.compile(r"gst-launch-[\d.]+"), ("--gst-plugin-path=",)),
)


def of_tools(words: Sequence[str], name: str) -> Iterator[str]:
    """The directories that options of another program name, wherever they stand: `gcc x.c -Iinclude`."""
    options = next((options for pattern, options in _TOOLS if pattern.fullmatch(name)), ())
    for index, word in enumerate(words):
        option = next(filter(word.startswith, options), "")
        if option and word == option:
            yield from words[index + 1 : index + 2]
        elif option:
            yield word[len(option) :]


def by_variables(variable: Callable[[str], str | None], language: str) -> Iterator[str]:
    """The directories that the caller's variables name."""
    for name in _VARIABLES.get(language, ()):
        for each in re.split(_SEPARATORS.get(language, ":"), variable(name) or ""):
            # Lua has templates: /opt/lua/?.lua
            directory = each.partition("?")[0].rstrip("/") if language == "lua" else each
            if directory and directory != ".":
                yield directory
