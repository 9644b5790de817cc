"""Files of the caller that a text names: beside it, in the working directory, or by their whole path in the home.

Nothing is executed.  The texts are scripts, those that they name, and lists and files of settings.  Of a directory that
a script names, the modules in it count.  Scripts of the distribution are not read.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gproc.bundle import named
from gproc.bundle.home import is_shared_object
from gproc.bundle.image import Image
from gproc.content.paths import within

TEXT_BYTES_MAX: Final = 1 << 20
_SCRIPTS_MAX: Final = 200
_FILES_BYTES_MAX: Final = 100 << 20

_ABSENT_MAX: Final = 300
"""Names that are no files yet: a later run notices if they have become files."""

_PATTERN_FILES_MAX: Final = 1000
_MODULES_MAX: Final = 2000
"""Names that are looked at in a directory of modules, and below it."""

_MODULES_DEPTH_MAX: Final = 6

_SUFFIXES: Final = {
    "node": (".js", ".mjs", ".cjs", ".json", "/index.js"), "ruby": (".rb",), "lua": (".lua",), "python": (".py",),
}  # fmt: skip
_OF_MODULES: Final = ("python", "perl", "ruby", "lua", "tcl", "R", "php", "guile", "octave")
_OF_SCRIPTS: Final = re.compile(r"\.(sh|bash|py|pl|pm|rb|js|mjs|cjs|lua|R|r|tcl|php|awk|zsh|scm|mk|m|gp|plt|gemspec)$")
_OF_SETTINGS: Final = re.compile(r"\.(ini|cfg|conf|ya?ml|toml|json|nml|list|lst|in|inp|rsp)$")
_CLIMBS: Final = re.compile(rb"\.\.|\bparents?\b.*\bparents?\b|parents\[[1-9]|dirname.*dirname")
"""How a script refers to a directory above its own, as in a project: `bin/x` reads `data/y`."""

_LANGUAGES: Final = {
    ".sh": "sh", ".bash": "sh", ".zsh": "sh", ".mk": "make", ".tcl": "tcl", ".m4": "m4", ".py": "python", ".pl": "perl",
    ".rb": "ruby", ".js": "node", ".lua": "lua", ".R": "R", ".php": "php", ".c": "c", ".cc": "c", ".cpp": "c",
    ".h": "c",
}  # fmt: skip
_DISTRIBUTION: Final = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/etc/", "/proc/", "/dev/", "/sys/")


def language_of(path: str) -> str:
    """Of a text, by its suffix; "" for data."""
    return _LANGUAGES.get(os.path.splitext(path)[1], "")


def is_of_distribution(path: str) -> bool:
    return path.startswith(_DISTRIBUTION)


class Named(NamedTuple):
    """Files.  yielding: the data among them that is only named by its whole path: the file of that name on a node, if
    it has one, is as much what is meant.  A script may write there, and would lose it in a copy.

    Code never gives way: modules of which a node has some would be of two versions.
    """

    files: tuple[str, ...]
    yielding: frozenset[str]


def named_by(image: Image, scripts: Sequence[str], language: str, cwd: str, home: str) -> Named:
    """The files that scripts name, and those that the scripts among them name.

    scripts: real paths.  home: the caller's, or "".
    """
    reader = _Reader(image, cwd, home)
    for script in scripts:
        reader.read(script, language)
    return reader.named()


def named_in(image: Image, code: str, language: str, cwd: str, home: str) -> Named:
    """The same for a text that is in no file."""
    reader = _Reader(image, cwd, home)
    reader.read_text(os.fsencode(code), (cwd,), language)
    return reader.named()


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
            elif stat.S_ISREG(status.st_mode) and _is_code(name):
                yield path, status.st_size


def _names(image: Image, directory: str) -> list[str]:
    try:
        return sorted(image.names(directory))
    except OSError:  # the caller may not read it, and neither may the script
        return []


class _Reader:
    """Texts that are read one after the other, with one bound for all that they name."""

    def __init__(self, image: Image, cwd: str, home: str) -> None:
        self._image = image
        self._cwd = cwd
        self._home = home.rstrip("/") if home.startswith("/") else ""
        self._found: dict[str, bool] = {}
        """Whether a path is data that is only named whole."""

        self._given: set[str] = set()
        self._read: set[str] = set()
        self._left_bytes = _FILES_BYTES_MAX
        self._left_absent = _ABSENT_MAX

    def named(self) -> Named:
        files = tuple(path for path in self._found if path not in self._given)
        return Named(files, frozenset(path for path in files if self._found[path]))

    def read(self, script: str, language: str) -> None:
        """Read a script that was given, and those that it names."""
        self._given.add(script)
        todo = [script]
        while todo and len(self._read) < _SCRIPTS_MAX:
            here = todo.pop()
            if here in self._read or is_of_distribution(here):
                continue
            self._read.add(here)
            text = self._image.text(here, TEXT_BYTES_MAX)
            if b"\0" in text:
                continue
            bases = [os.path.dirname(here), self._cwd]
            if _CLIMBS.search(text):
                bases.append(os.path.dirname(bases[0]))
            of_settings = _OF_SETTINGS.search(here) is not None
            for path in self.read_text(text, tuple(dict.fromkeys(bases)), "" if of_settings else language):
                if _OF_SCRIPTS.search(path) or _OF_SETTINGS.search(path):
                    todo.append(path)

    def read_text(self, text: bytes, bases: Sequence[str], language: str) -> list[str]:
        """The files that were not found before."""
        new = []
        for name in named.names_in(text, language):
            for place, is_whole in self._places(name, bases, language):
                for path, size in self._meant(os.path.normpath(place), language, bases):
                    gives_way = is_whole and not _is_code(path)
                    if path in self._found:
                        self._found[path] &= gives_way
                    elif size <= self._left_bytes:
                        self._left_bytes -= size
                        self._found[path] = gives_way
                        new.append(path)
        return new

    def _places(self, name: str, bases: Sequence[str], language: str) -> Iterator[tuple[str, bool]]:
        """Where a name may lead, and whether it says so by itself."""
        below = named.below_home(name)
        if below or name.startswith("/"):
            path = f"{self._home}/{below}" if below else name
            top = next((each for each in (self._cwd.rstrip("/"), self._home) if each and within(path, each)), "")
            if top and "/." not in path[len(top) :]:  # hidden files are mostly secret
                yield path, True
        relative = "" if below else named.relative(name, language)
        for directory in bases if relative else ():
            for spelling in _spellings(f"{directory.rstrip('/')}/{relative}", language):
                yield spelling, False

    def _meant(self, path: str, language: str, here: Sequence[str]) -> Iterator[tuple[str, int]]:
        if is_of_distribution(path):
            return
        if "*" in path or "?" in path:
            yield from self._matching(path)
            return
        walk = self._image.glance(path)
        if walk is None:
            self._expect(path)
        elif stat.S_ISREG(walk.status.st_mode):
            yield path, walk.status.st_size
        elif language in _OF_MODULES and stat.S_ISDIR(walk.status.st_mode) and not _holds(path, here):
            yield from modules_in(self._image, path)

    def _expect(self, path: str) -> None:
        """Remember a name that is no file yet, so that the cache's answer does not hold when it is one."""
        if self._left_absent and named.looks_like_path(os.fsencode(os.path.basename(path))) and " " not in path:
            self._left_absent -= 1
            self._image.note_absent(path)

    def _matching(self, pattern: str) -> Iterator[tuple[str, int]]:
        """The files that a pattern of a shell means: `data/*.csv`."""
        directory, _, name = pattern.rpartition("/")
        is_plain = "*" not in directory and "?" not in directory and not set(name) & set("\\^$()+|{}")
        in_own = directory in (self._cwd.rstrip("/"), self._home)
        if not is_plain or name.startswith(".") or (in_own and not re.search(r"\w", name)):
            return
        walk = self._image.glance(directory)
        if walk is None or not stat.S_ISDIR(walk.status.st_mode):
            return
        names = [each for each in _names(self._image, walk.real) if fnmatch.fnmatchcase(each, name) and each[0] != "."]
        for each in names[:_PATTERN_FILES_MAX]:
            found = self._image.glance(f"{directory}/{each}")
            if found is not None and stat.S_ISREG(found.status.st_mode):
                yield f"{directory}/{each}", found.status.st_size


def _is_code(path: str) -> bool:
    return _OF_SCRIPTS.search(path) is not None or is_shared_object(path)


def _holds(directory: str, places: Sequence[str]) -> bool:
    return any(within(each, directory) for each in places)


def _spellings(path: str, language: str) -> Sequence[str]:
    found = [path, *(path + suffix for suffix in _SUFFIXES.get(language, ()))]
    if language == "ruby" and "/../" in path:
        found.append(path.replace("/../", "/", 1))  # File.expand_path("../lib", __FILE__): the script counts as a part
    return found
