"""A command that a text runs, as the program and the script that it gives to an interpreter."""

from __future__ import annotations

import os

from gproc.bundle.command import prefixes
from gproc.bundle.image import Image
from gproc.bundle.meaning import Ran
from gproc.bundle.surroundings import Surroundings


def ran_by(image: Image, surroundings: Surroundings, words: list[str]) -> Ran:
    """What a command of a script runs: `python3 x.py` runs x.py too."""
    language = prefixes.interpreter(os.path.basename(words[0]))
    word, code = prefixes.script(words[1:], language) if language else ("", "")
    if language in ("make", "ninja"):
        files = prefixes.makefiles(words[1:], language)
        word = next((each for each in files if image.is_file(surroundings.absolute(os.path.normpath(each)))), "")
    script = surroundings.absolute(os.path.normpath(word)) if word else ""
    return Ran(words[0], script if script and image.is_file(script) else "", code)
