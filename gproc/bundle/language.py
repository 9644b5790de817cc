"""What an interpreter needs besides its closure: its library, and what its script imports, requires or names.

The files are found without running the interpreter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from gproc.bundle import beside, libraries, nodejs, perl, prefixes, python
from gproc.bundle.closure import Object
from gproc.bundle.home import Home
from gproc.bundle.image import Image
from gproc.bundle.surroundings import Surroundings

_TEXT_BYTES_MAX: Final = 1 << 20
_SHELL: Final = re.compile(r"(ba|da|mk|z|k|a|fi)?sh[\d.-]*")


def home_of(
    image: Image, surroundings: Surroundings, program: Object, closure: Sequence[Object], script: str, code: str
) -> Home | None:
    """The library of an interpreter, or None if the program is not an interpreter known here.

    script: the script that it runs; "" if that is not known.  code: the text that it runs instead.
    """
    name = os.path.basename(program.real)
    language = prefixes.interpreter(name)
    if language == "python":
        home = python.home_of(image, surroundings, program, script, code)
    elif language == "perl":
        home = perl.home_of(image, surroundings, program, closure)
    else:
        home = libraries.library_of(image, program.real)
    if not script and not (language == "node" and code):
        return home
    if not language and home is None and not _SHELL.fullmatch(name):
        return None
    return _with_script(image, surroundings, home or Home(), script, code, language)


def _with_script(
    image: Image, surroundings: Surroundings, home: Home, script: str, code: str, language: str
) -> Home:
    walk = image.walk(script) if script else None
    cwd = surroundings.absolute("")
    named = beside.named_by(image, walk.real, language, cwd) if walk is not None else ()
    trees = home.trees
    if language == "node":
        texts = [(cwd, os.fsencode(code))]
        for path in (walk.real, *named) if walk is not None else ():
            texts.append((os.path.dirname(path), image.text(path, _TEXT_BYTES_MAX)))
        trees += nodejs.packages_of(image, texts)
    return msgspec.structs.replace(home, trees=trees, beside=named)
