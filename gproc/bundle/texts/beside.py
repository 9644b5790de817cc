"""Files of the caller that a text names: beside it, in the working directory, or by their whole path in the home.

Nothing is executed.  The texts are scripts, those that they name, and lists and files of settings.  Of a directory that
a script names, the modules in it count.  Scripts of the distribution are not read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gproc.bundle.home import is_shared_object
from gproc.bundle.image import Image
from gproc.bundle.texts import named, patterns
from gproc.bundle.texts.mentioned import Mentioned
from gproc.content.paths import within

TEXT_BYTES_MAX: Final = 1 << 20
_SCRIPTS_MAX: Final = 200

_MODULES_MAX: Final = 2000
"""Names that are looked at in a directory of modules, and below it."""

_MODULES_DEPTH_MAX: Final = 6

_SUFFIXES: Final = {
    "node": (".js", ".mjs", ".cjs", ".json", "/index.js"), "ruby": (".rb",), "lua": (".lua",), "python": (".py",),
    "prolog": (".pl", ".prolog", ".plt"),
}  # fmt: skip
_OF_MODULES: Final = ("python", "perl", "ruby", "lua", "tcl", "R", "php", "guile", "octave")
_OF_SCRIPTS: Final = re.compile(r"\.(sh|bash|py|pl|pm|rb|js|mjs|cjs|lua|R|r|tcl|php|awk|zsh|scm|mk|m|gp|plt|gemspec)$")
_OF_SETTINGS: Final = re.compile(r"\.(ini|cfg|conf|ya?ml|toml|json|nml|list|lst|in|inp|rsp)$")
_RENAMES: Final = re.compile(rb"\$\{\w{1,60}%")
"""How a shell makes the name of one file of that of another, as `${x%.sh}.expected` for each of t/*.sh: files beside
those that a pattern of this text means are named too, but no text says how."""

_DOTTED: Final = re.compile(r"[A-Za-z_]\w{0,60}(?:\.[A-Za-z_]\w{0,60}){1,6}")
_IDENTIFIER: Final = re.compile(rb"\b[A-Za-z_]\w*")
_CLIMBS: Final = re.compile(rb"\.\.|\bparents?\b.*\bparents?\b|parents\[[1-9]|dirname.*dirname")
"""How a script refers to a directory above its own, as in a project: `bin/x` reads `data/y`."""

_LANGUAGES: Final = {
    ".sh": "sh", ".bash": "sh", ".zsh": "sh", ".mk": "make", ".tcl": "tcl", ".m4": "m4", ".py": "python", ".pl": "perl",
    ".rb": "ruby", ".js": "node", ".lua": "lua", ".R": "R", ".php": "php", ".scm": "guile",
    ".m": "octave", ".c": "c", ".cc": "c", ".cpp": "c",
    ".h": "c",
}  # fmt: skip
_NO_DATA: Final = frozenset({"node_modules", "__pycache__", ".git", "site-packages"})
_BY_NAME: Final = {
    "Rakefile": "ruby", "rakefile": "ruby", "Gemfile": "ruby", "Snakefile": "python", "SConstruct": "python",
    "SConscript": "python", "build.ninja": "ninja",
}  # fmt: skip
_DISTRIBUTION: Final = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/etc/", "/proc/", "/dev/", "/sys/")


def language_of(path: str) -> str:
    """Of a text, by its suffix; "" for data."""
    name = os.path.basename(path)
    return _BY_NAME.get(name, _LANGUAGES.get(os.path.splitext(name)[1], ""))


def is_of_distribution(path: str) -> bool:
    return path.startswith(_DISTRIBUTION)


class Named(NamedTuple):
    """Files.  yielding: the data among them that is only named by its whole path: the file of that name on a node, if
    it has one, is as much what is meant.  A script may write there, and would lose it in a copy.

    Code never gives way: modules of which a node has some would be of two versions.
    """

    files: tuple[str, ...]
    yielding: frozenset[str]


def named_by(mentioned: Mentioned, scripts: Sequence[str], language: str) -> Named:
    """The files that scripts name, and those that the scripts among them name.

    scripts: real paths.
    """
    reader = _Reader(mentioned)
    for script in scripts:
        reader.read(script, language)
    return reader.named()


def named_in(mentioned: Mentioned, code: str, language: str) -> Named:
    """The same for a text that is in no file."""
    reader = _Reader(mentioned)
    reader.read_text(os.fsencode(code), (mentioned.cwd,), language)
    return reader.named()


def modules_in(image: Image, directory: str) -> Iterator[tuple[str, int]]:
    """The scripts and shared objects in a directory and below it, with their sizes."""
    todo = [(directory, 0)]
    seen = 0
    while todo:
        here, depth = todo.pop()
        for name in patterns.names_of(image, here):
            seen += 1
            if seen > _MODULES_MAX:
                return
            path = f"{here.rstrip('/')}/{name}"
            status = image.lstat(path)
            if status is None or name.startswith(".") or name in ("node_modules", "__pycache__"):
                continue
            if stat.S_ISDIR(status.st_mode) and depth < _MODULES_DEPTH_MAX:
                todo.append((path, depth + 1))
            elif stat.S_ISREG(status.st_mode) and is_code(name):
                yield path, status.st_size


class _Reader:
    """Texts that are read one after the other, with one bound for all that they name."""

    def __init__(self, mentioned: Mentioned) -> None:
        self._mentioned = mentioned
        self._image = mentioned.image
        self._cwd = mentioned.cwd
        self._home = mentioned.home
        self._found: dict[str, bool] = {}
        """Whether a path is data that is only named whole."""

        self._renames = False
        """Whether the text that is read makes names of others by their suffix."""

        self._given: set[str] = set()
        self._read: set[str] = set()
        self._listed: set[str] = set()

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
        lists = named.lists(text)
        self._renames = _RENAMES.search(text) is not None
        for name in map(_as_path, named.names_in(text, language)):
            for place, is_whole in self._places(name, bases, language):
                for path, size in self._meant(os.path.normpath(place), language, bases, lists):
                    gives_way = is_whole and not is_code(path)
                    if path in self._found:
                        self._found[path] &= gives_way
                    elif self._mentioned.take(path, size):
                        self._found[path] = gives_way
                        new.append(path)
        if language == "octave":
            new += self._functions(text, bases)
        return new

    def _functions(self, text: bytes, bases: Sequence[str]) -> list[str]:
        """The files of functions that a text of Octave calls: each is in a file of its name."""
        words = set(_IDENTIFIER.findall(text))
        new = []
        for base in bases:
            for name in patterns.names_of(self._image, base):
                path = f"{base.rstrip('/')}/{name}"
                is_called = name.endswith(".m") and os.fsencode(name[:-2]) in words and path not in self._found
                walk = self._image.glance(path) if is_called else None
                if walk is not None and self._mentioned.take(path, walk.status.st_size):
                    self._found[path] = False
                    new.append(path)
        return new

    def _places(self, name: str, bases: Sequence[str], language: str) -> Iterator[tuple[str, bool]]:
        """Where a name may lead, and whether it says so by itself."""
        below = named.below_home(name)
        if below or name.startswith("/"):
            path = f"{self._home}/{below}" if below else name
            top = next((each for each in (self._cwd, self._home) if each and within(path, each)), "")
            if top and "/." not in path[len(top) :]:  # hidden files are mostly secret
                yield path, True
        relative = "" if below else named.relative(name, language)
        for directory in bases if relative else ():
            for spelling in _spellings(f"{directory.rstrip('/')}/{relative}", language):
                yield spelling, False
            if language in ("python", "") and self._image.is_file(module := _module(directory, relative)):
                yield module, False

    def _meant(self, path: str, language: str, here: Sequence[str], lists: bool) -> Iterator[tuple[str, int]]:
        if is_of_distribution(path):
            return
        if patterns.is_pattern(path):
            found = list(patterns.matching(self._image, path, (self._cwd, self._home, *here)))
            yield from found
            directory = os.path.dirname(path)
            if self._renames and found and not patterns.is_pattern(directory) and not _holds(directory, here):
                yield from self._inside(directory, False)
            return
        walk = self._image.glance(path)
        if walk is None:
            if named.looks_like_path(os.fsencode(os.path.basename(path))) and " " not in path:
                self._mentioned.expect(path)
        elif stat.S_ISREG(walk.status.st_mode):
            yield path, walk.status.st_size
        elif stat.S_ISDIR(walk.status.st_mode) and not _holds(path, here):
            if language in _OF_MODULES:
                yield from modules_in(self._image, path)
            if not set(path.split("/")) & _NO_DATA:
                yield from self._inside(path, lists)

    def _inside(self, directory: str, lists: bool) -> Iterator[tuple[str, int]]:
        """What a text may open in a directory that it names: `dir + "/" + name`."""
        if directory in (self._cwd, self._home) or directory in self._listed:
            return
        self._listed.add(directory)
        yield from patterns.whole(self._image, directory, self._home, lists)


def is_code(path: str) -> bool:
    """By its name: a script, a module or a shared object."""
    return _OF_SCRIPTS.search(path) is not None or is_shared_object(path)


def _holds(directory: str, places: Sequence[str]) -> bool:
    return any(within(each, directory) for each in places)


def _module(base: str, name: str) -> str:
    """The file of a module that a text names: `"plugins.alpha"`."""
    return f"{base.rstrip('/')}/{name.replace('.', '/')}.py" if _DOTTED.fullmatch(name) else ""


def _spellings(path: str, language: str) -> Sequence[str]:
    found = [path, *(path + suffix for suffix in _SUFFIXES.get(language, ()))]
    if language == "ruby" and "/../" in path:
        found.append(path.replace("/../", "/", 1))  # File.expand_path("../lib", __FILE__): the script counts as a part
    return found


def _as_path(name: str) -> str:
    """A name as Python spells that of a file with the same bytes: a program's locale may not be UTF-8."""
    return os.fsdecode(name.encode(errors="surrogateescape"))
