"""What an interpreter needs besides its closure: its library, and what its script imports, requires, names or runs.

The files are found without running the interpreter.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from gproc.bundle import libraries, locale_files, zones
from gproc.bundle.command import prefixes, search_paths, told
from gproc.bundle.home import Home, Installation
from gproc.bundle.image import Image
from gproc.bundle.languages import java, nodejs, perl, python
from gproc.bundle.languages.projects import projects_of
from gproc.bundle.libraries import loadable_of
from gproc.bundle.linking.closure import Object
from gproc.bundle.meaning import Ran
from gproc.bundle.surroundings import Surroundings
from gproc.bundle.texts import beside, executed
from gproc.bundle.texts.mentioned import Mentioned
from gproc.bundle.texts.running import ran_by
from gproc.content.paths import within

_FORKS: Final = re.compile(rb"\bfork\(|\bexecPath\b|[\"'](?:node:)?cluster[\"']")
"""How a script of node runs node itself, by the path that /proc/self/exe leads to."""

_OMITTED: Final = re.compile(r"/(\.git|\.svn|\.hg|node_modules)$")
"""Names in a directory of modules that are no modules."""


def home_of(
    image: Image,
    surroundings: Surroundings,
    program: Object,
    closure: Sequence[Object],
    ran: Ran,
    words: Sequence[str] = (),
) -> Home | None:
    """The library of an interpreter, or None if the program is not an interpreter known here.

    ran: what it runs, as far as that is known.  words: files that the command names.
    """
    name = os.path.basename(program.real)
    language = prefixes.interpreter(name)
    script = _Told(image, surroundings, program.path, ran, language)
    if language == "python":
        home = python.home_of(image, surroundings, program, ran.script, ran.code, (*script.files, *words))
    elif language == "perl":
        home = perl.home_of(image, program, closure)
    else:
        home = launched(image, surroundings, program.path, program.real)
    home = _with_directories(image, surroundings, home, ran, language)
    if not language or not (ran.script or ran.code):
        return home
    return script.added_to(home or Home())


def _with_directories(
    image: Image, surroundings: Surroundings, home: Home | None, ran: Ran, language: str
) -> Home | None:
    """Add the directories where it was told to look for modules; only modules of one around the working directory."""
    asked = (*ran.directories, *map(surroundings.absolute, search_paths.by_variables(surroundings.variable, language)))
    trees: list[Installation] = []
    files: list[str] = []
    for path in dict.fromkeys(map(os.path.normpath, asked)):
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


class _Told:
    """What the script, or the text, of an interpreter tells: files, programs, packages and time zones."""

    def __init__(
        self, image: Image, surroundings: Surroundings, program: str, ran: Ran, language: str
    ) -> None:
        self._program = program
        self._image = image
        self._surroundings = surroundings
        self._ran = ran
        self._language = language
        walk = image.walk(ran.script) if ran.script and language else None
        self._scripts = [walk.real] if walk is not None and not beside.is_of_distribution(walk.real) else []
        own = map(os.path.dirname, (ran.script, *self._scripts) if self._scripts else ())
        self._mentioned = Mentioned(image, surroundings, own)
        self._named: list[beside.Named] = []
        if self._scripts:
            projects = projects_of(image, self._scripts[0], language, surroundings.absolute(""))
            self._named = [self._named_by([*self._scripts, *projects]), beside.Named(projects, frozenset())]
        elif ran.code and language:
            self._named = [beside.named_in(self._mentioned, ran.code, language)]
        self.files = tuple(path for named in self._named for path in named.files)

    def added_to(self, home: Home) -> Home:
        image, language = self._image, self._language
        named = [*self._named, *([self._named_by(home.texts)] if home.texts else ())]
        files = dict.fromkeys((*home.beside, *(path for each in named for path in each.files)))
        fixed = {*home.beside, *(path for each in named for path in each.files if path not in each.yielding)}
        yielding = frozenset[str]().union(*(each.yielding for each in named)) - fixed
        paths = (*self._scripts, *home.texts, *self.files)
        texts = [(os.path.dirname(path), self._text(path)) for path in paths]
        if self._ran.code:
            texts.append((self._surroundings.absolute(""), os.fsencode(self._ran.code)))
        trees, programs = home.trees, home.programs
        if language == "sh":
            trees += tuple(dict.fromkeys(tree for _, text in texts for tree in loadable_of(image, text)))
        if language == "node":
            trees += nodejs.packages_of(image, texts, self._ran.script)
        if language == "java" and self._ran.script:
            files |= dict.fromkeys(java.class_path_of(image, self._ran.script))
        if language in ("sh", "perl") and self._ran.script:
            walk = image.walk(self._ran.script)
            own = launched(image, self._surroundings, self._ran.script, walk.real) if walk is not None else None
            trees += own.trees if own is not None else ()
            programs += own.programs if own is not None else ()
            if walk is not None and language == "sh" and not self._scripts:
                texts.append(("", self._text(walk.real).replace(b"$0", os.fsencode(self._ran.script))))
        runs_itself = language == "node" and any(_FORKS.search(text) for _, text in texts)
        programs += tuple(dict.fromkeys(ran_by(image, self._surroundings, words) for words in self._commands(texts)))
        programs += tuple(Ran(path) for path in files if _leads_to_program(image, path))
        # A script that it runs as a process of its own changes no variable for it.
        apart = {self._surroundings.absolute(os.path.normpath(each.name)) for each in programs if "/" in each.name}
        apart |= {each.script for each in programs} - set(self._scripts)
        read = [text for path, text in zip(paths, texts, strict=False) if path not in apart] + texts[len(paths) :]
        localised = [text for _, text in texts if b"locale" in text or b"LC_" in text]
        locales = dict.fromkeys(name for text in localised for name in locale_files.named_in(text))
        lent = (*home.lent, *locale_files.files_of(image, locales))
        lent = (*lent, *(path for _, text in texts for path in zones.named_in(text) if image.glance(path)))
        whole = yielding if not any(b"GPROC_ROOT" in text for _, text in texts) else frozenset[str]()
        itself = (self._program,) if runs_itself else ()
        return msgspec.structs.replace(
            home, trees=trees, files=(*home.files, *itself), beside=tuple(files), yielding=yielding, programs=programs,
            lent=tuple(dict.fromkeys(lent)), told=tuple(dict.fromkeys(self._told(read))), whole=whole,
        )  # fmt: skip

    def _told(self, texts: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, str]]:
        """Directories that are here, and that a script of a shell puts into search paths."""
        for directory, text in texts if self._language == "sh" else ():
            bases = dict.fromkeys((directory, self._surroundings.absolute(""), os.path.dirname(directory)))
            for name, written in told.in_text(os.fsdecode(text)):
                for path in map(os.path.normpath, told.places(written, [each for each in bases if each])):
                    if self._image.is_directory(path):
                        yield name, path

    def _named_by(self, scripts: Sequence[str]) -> beside.Named:
        return beside.named_by(self._mentioned, scripts, self._language)

    def _text(self, path: str) -> bytes:
        text = self._image.text(path, beside.TEXT_BYTES_MAX)
        return b"" if text.startswith(b"\x7fELF") else text.partition(b"\0")[0]

    def _commands(self, texts: Sequence[tuple[str, bytes]]) -> Iterator[list[str]]:
        for _, text in texts:
            if self._language == "sh":
                yield from executed.commands_in(os.fsdecode(text))
            elif self._language == "make":
                yield from executed.shells_in(os.fsdecode(text))
                yield from executed.commands_in(executed.recipes_in(os.fsdecode(text)))
            elif self._language == "ninja":
                yield from executed.commands_in(executed.commands_of_rules(os.fsdecode(text)))
            else:
                yield from executed.calls_in(os.fsdecode(text), self._language)


def _leads_to_program(image: Image, path: str) -> bool:
    """Whether a name is a link to a program elsewhere: `"$here/venv/bin/python" x.py`."""
    walk = image.walk(path)
    status = walk.status if walk is not None and walk.links else None
    return status is not None and stat.S_ISREG(status.st_mode) and status.st_mode & 0o111 != 0
