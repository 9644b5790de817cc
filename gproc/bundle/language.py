"""What an interpreter needs besides its closure: its library, and what its script imports, requires, names or runs.

The files are found without running the interpreter.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from typing import Final

import msgspec

from gproc.bundle import beside, executed, libraries, nodejs, perl, prefixes, python, search_paths
from gproc.bundle.closure import Object
from gproc.bundle.home import Home, Installation
from gproc.bundle.image import Image
from gproc.bundle.meaning import Ran
from gproc.bundle.surroundings import Surroundings
from gproc.content.paths import within

_TEXT_BYTES_MAX: Final = 1 << 20
_OMITTED: Final = re.compile(r"/(\.git|\.svn|\.hg|node_modules)$")
"""What lies in a directory of modules, and is none."""


def home_of(
    image: Image, surroundings: Surroundings, program: Object, closure: Sequence[Object], ran: Ran
) -> Home | None:
    """The library of an interpreter, or None if the program is not an interpreter known here.

    ran: what it runs, as far as that is known.
    """
    name = os.path.basename(program.real)
    language = prefixes.interpreter(name)
    if language == "python":
        home = python.home_of(image, surroundings, program, ran.script, ran.code)
    elif language == "perl":
        home = perl.home_of(image, program, closure)
    else:
        home = launched(image, surroundings, program.path, program.real)
    home = _with_directories(image, surroundings, home, ran, language)
    if not ran.script and not (language == "node" and ran.code):
        return home
    if not language and home is None:
        return None
    return _with_script(image, surroundings, home or Home(), ran, language)


def _with_directories(
    image: Image, surroundings: Surroundings, home: Home | None, ran: Ran, language: str
) -> Home | None:
    """Add the directories where it was told to look for modules; only modules of one around the working directory."""
    told = (*ran.directories, *map(surroundings.absolute, search_paths.by_variables(surroundings.variable, language)))
    trees: list[Installation] = []
    files: list[str] = []
    for path in dict.fromkeys(map(os.path.normpath, told)):
        if any(within(each, path) for each in (surroundings.absolute(""), surroundings.variable("HOME") or "/")):
            files += [each for each, _ in beside.modules_in(image, path)]
        elif image.is_directory(path):
            trees.append(Installation(path, _OMITTED))
    if not trees and not files:
        return home
    home = home or Home()
    return msgspec.structs.replace(home, trees=(*home.trees, *trees), beside=(*home.beside, *files))


def launched(image: Image, surroundings: Surroundings, path: str, real: str) -> Home | None:
    """The library of what a program, or a script that starts one, is known to be by its name."""
    return libraries.library_of(image, path, real, surroundings.variable("HOME") or "")


def _with_script(image: Image, surroundings: Surroundings, home: Home, ran: Ran, language: str) -> Home:
    walk = image.walk(ran.script) if ran.script else None
    cwd = surroundings.absolute("")
    named = beside.named_by(image, walk.real, language, cwd) if walk is not None else ()
    trees, programs = home.trees, home.programs
    if language == "node":
        texts = [(cwd, os.fsencode(ran.code))]
        for path in (walk.real, *named) if walk is not None else ():
            texts.append((os.path.dirname(path), image.text(path, _TEXT_BYTES_MAX)))
        trees += nodejs.packages_of(image, texts)
    if language == "sh" and walk is not None:
        own = launched(image, surroundings, ran.script, walk.real) or Home()
        trees += own.trees
        text = os.fsdecode(image.text(walk.real, _TEXT_BYTES_MAX))
        run = [_run(image, surroundings, words) for words in executed.commands_in(text)]
        programs += own.programs + tuple(dict.fromkeys(run))
    return msgspec.structs.replace(home, trees=trees, beside=home.beside + named, programs=programs)


def _run(image: Image, surroundings: Surroundings, words: list[str]) -> Ran:
    """What a command of a script runs: `python3 x.py` runs x.py too."""
    language = prefixes.interpreter(os.path.basename(words[0]))
    word, code = prefixes.script(words[1:], language) if language else ("", "")
    script = surroundings.absolute(os.path.normpath(word)) if word else ""
    walk = image.glance(script) if script else None
    is_file = walk is not None and stat.S_ISREG(walk.status.st_mode)
    return Ran(words[0], script if is_file else "", code)
