"""What the words of a command mean: the programs that it runs, and the caller's files that it names.

A relative word, or one below the working directory or the caller's home, means the caller's file.  Any other absolute
path means the node's file if the node has one, else the caller's.  Looks at names and sizes, and reads nothing but the
standard input, from which it takes nothing.

This runs for every command, so it imports nothing large.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Final

from gproc import descriptors
from gproc.bundle.command import defaults, prefixes, search_paths, told
from gproc.bundle.command.guessed import ENTRIES_MAX, Guesses
from gproc.bundle.command.variables import directories_named, files_named, words_in
from gproc.bundle.meaning import Meant, Ran
from gproc.bundle.zones import zone_file
from gproc.content.manifest import PATH_BYTES_MAX
from gproc.content.paths import within

FILE_BYTES_MAX: Final = 100 << 20
"""What all words together may bring along; more is asked for by -f."""

FILES_MAX: Final = 1000
_OF_VARIABLE_MAX: Final = 300
"""Files of a directory that a variable names, which may be about something else."""

DEPTH_MAX: Final = 8
"""Commands that run commands: `env timeout 9 sh -c ...`."""

_NODES: Final = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/run")
"""Absolute paths there are never the caller's: they are about the node, or shared by all its users."""

_AFTER_EQUALS: Final = re.compile(r"(?:--?)?[A-Za-z0-9][\w.-]*=(.+)", re.DOTALL)
_PREFIX: Final = re.compile(r"[\w+-][\w.+-]*")
_BESIDE_MAX: Final = 100
_CLASS_ENTRIES_MAX: Final = 50_000
"""`java -cp .` is said in the middle of anything."""

_CLEARS: Final = frozenset({"-i", "-", "--ignore-environment"})
_NUMBERED: Final = re.compile(r"%(0?\d?d)")
_PART: Final = re.compile(r"[\w./@+-]{3,200}")
_PARTS_MAX: Final = 100
_INPUT_BYTES_MAX: Final = 1 << 20
_INPUT_TEXT_BYTES: Final = 64 << 10
_INPUT_PARTS_MAX: Final = 5000
_INPUT_FILES_MAX: Final = 100
_INPUT_FILES_BYTES_MAX: Final = 20 << 20
_OF_INPUT: Final = ("sh", "python", "perl", "ruby", "node", "lua", "tcl", "php", "guile", "octave", "m4")
"""Interpreters that take a script from their standard input."""

_IN_ONE_WORD: Final = re.compile(r"[-+][A-Za-z][^-=].*", re.DOTALL)
_OF_LIST: Final = re.compile("[,:]")
_TOOLS_SCRIPT: Final = re.compile(r"\.(gp|gpi|plt|gnuplot|m|R|tcl|exp|gdb|el|vim)$")
"""What a tool runs that is no interpreter known here, or that options name."""

_CLASS_PATHS: Final = ("-cp", "-classpath", "--class-path", "-p", "--module-path")
_CLASS: Final = re.compile(r"\.(class|jar|properties|xml)$")


def meant(
    command: Sequence[str], cwd: str, environ: Mapping[str, str], standard_input: int | None = None, *,
    nodes_programs: bool = False,
) -> Meant:  # fmt: skip
    """standard_input: a descriptor, from which nothing is taken: the script of an interpreter that is given none.

    For other programs it is a text, if it is a file.

    nodes_programs: names without a slash that the command runs itself are the node's own programs (`--shell`).
    """
    return _Reader(cwd, environ, standard_input, nodes_programs).read(command)


class _Reader:
    def __init__(self, cwd: str, environ: Mapping[str, str], standard_input: int | None, nodes_programs: bool) -> None:
        self._cwd = cwd
        self._environ = environ
        self._standard_input = standard_input
        self._nodes_programs = nodes_programs
        self._home = environ.get("HOME", "").rstrip("/")
        self._guesses = Guesses((cwd, self._home))
        self._programs: dict[Ran, None] = {}
        self._files: dict[str, None] = {}
        self._yielding: dict[str, None] = {}
        self._left: dict[str, None] = {}
        self._whole: dict[str, None] = {}
        self._directories: dict[str, None] = {}
        self._left_bytes = FILE_BYTES_MAX
        self._beside: dict[str, list[str]] = {}
        self._small: dict[str, None] = {}

    def read(self, command: Sequence[str]) -> Meant:
        self._command(list(command), 0)
        for word in command:
            if word.startswith("TZ="):  # as env(1) takes it
                for path in zone_file(word.removeprefix("TZ=")):
                    self._word(path)
        whole = dict(self._whole)
        if self._standard_input is not None and os.path.isfile(f"/proc/self/fd/{self._standard_input}"):
            self._input(_shown(self._standard_input, _INPUT_TEXT_BYTES))
        for path in files_named(self._environ, self._cwd):
            if self._guesses.size(path) is not None:
                self._word(path)
        for word in words_in(self._environ):
            self._word_of_variable(word)
        self._whole = whole  # a plain node says in the variable where the file is
        for path in directories_named(self._environ, self._cwd):
            self._directory(path, path, _OF_VARIABLE_MAX)
        files = tuple(self._files), tuple(self._yielding), tuple(self._left)
        return Meant(
            tuple(self._programs), *files, told=tuple(self._told(command)), whole=tuple(self._whole),
            directories=tuple(self._directories), small=tuple(self._small),
        )  # fmt: skip

    def _command(self, words: list[str], depth: int) -> None:
        name = os.path.basename(words[0])
        interpreter = prefixes.interpreter(name)
        script, code = self._script(words[1:], interpreter) if interpreter else ("", "")
        if depth and words[0].startswith("/") and self._is_callers(words[0]):
            self._whole[words[0]] = None
        if depth == 0 or "/" in words[0] or not self._nodes_programs:
            told = tuple(map(self._absolute, search_paths.by_options(words[1:], interpreter)))
            self._programs[Ran(self._absolute(words[0]) if "/" in words[0] else words[0], script, code, told)] = None
        if name == "env" and _CLEARS.intersection(words) | {word for word in words if word.startswith("PATH=")}:
            # On a plain node a program that was sent is found by the job's PATH, which the command replaces.
            for inner in prefixes.commands(words):
                if found := shutil.which(inner[0], path=self._environ.get("PATH")):
                    self._whole[found] = None
        if depth < DEPTH_MAX:
            here = self._cwd
            if name == "env":
                self._cwd = self._absolute(prefixes.env_directory(words) or ".")
            for inner in prefixes.commands(words):
                self._command(inner, depth + 1)
            self._cwd = here
        before = len(self._files) + len(self._directories)
        for word in words[1:]:
            self._word(word)
            if " " in word and not interpreter:
                self._text(word)
        names = len(self._files) + len(self._directories) > before
        for word in defaults.read_by(words):
            self._word(word)
            if self._absolute(word) in self._files:
                self._directories[self._cwd] = None
        self._works_here(words, interpreter, names)
        for directory in search_paths.of_tools(words[1:], name):
            self._directory(self._absolute(directory), directory)
        if interpreter == "java":
            given = self._environ.get("CLASSPATH", "")
            self._class_path(["-cp", given, *words[1:]] if given else words[1:])

    def _told(self, command: Sequence[str]) -> Iterator[tuple[str, str]]:
        for name, written in told.in_words(command[1:]):
            paths = map(self._absolute, told.places(written, (self._cwd,)))
            yield from ((name, path) for path in paths if os.path.isdir(path))

    def _absolute(self, path: str) -> str:
        return os.path.normpath(path if path.startswith("/") else f"{self._cwd.rstrip('/')}/{path}")

    def _script(self, words: list[str], interpreter: str) -> tuple[str, str]:
        if interpreter in ("make", "ninja"):
            return self._makefile(words, interpreter), ""
        word, code = prefixes.script(words, interpreter)
        if not word or (interpreter == "sh" and "-s" in words):
            return ("", code) if code else self._script_read(interpreter)
        path = self._absolute(word)
        return (path, code) if os.path.isfile(path) else ("", code)

    def _script_read(self, interpreter: str) -> tuple[str, str]:
        """The script that an interpreter reads from its standard input: `python3 < x.py`, `sh <<END`."""
        if self._standard_input is None or interpreter not in _OF_INPUT:
            return "", ""
        path = descriptors.name_of(self._standard_input)
        size = self._guesses.size(path) if path else None
        if size is not None and size <= _INPUT_BYTES_MAX:
            return path, ""
        return "", _shown(self._standard_input, _INPUT_TEXT_BYTES)

    def _makefile(self, words: list[str], language: str) -> str:
        return next(filter(os.path.isfile, map(self._absolute, prefixes.makefiles(words, language))), "")

    def _word(self, word: str) -> None:
        for candidate, is_exact in _candidates(word):
            path = self._absolute(candidate)
            try:
                status = os.stat(path)
            except (OSError, ValueError):
                if "%" in candidate:
                    self._numbered(path, candidate)
                self._beginning_with(path, candidate)
                continue
            callers = not candidate.startswith("/") or self._is_callers(path)
            if stat.S_ISDIR(status.st_mode):
                if callers and candidate not in (".", "..", "/"):
                    self._left[candidate] = None
                if callers and is_exact and not candidate.startswith("/"):
                    self._directories[path] = None
            elif stat.S_ISREG(status.st_mode) and path not in self._files and path not in self._yielding:
                if not is_exact and self._guesses.size(path) is None:
                    continue
                self._take(path, candidate, status.st_size, callers)
                self._beginning_with(path, candidate)

    def _word_of_variable(self, word: str) -> None:
        """`NODE_OPTIONS="--require ./pre.js"`, `RUBYOPT=-r./pre`, `XML_CATALOG_FILES=catalog.xml`"""
        path = self._absolute(word)
        if os.path.isfile(path):
            self._guess(path, word)
        elif not os.path.isdir(path):
            self._beginning_with(path, word)

    def _works_here(self, words: list[str], interpreter: str, names: bool) -> None:
        """A module or a script of a tool's own language that is given a file here opens others: `gnuplot plot.gp`."""
        relative = [self._absolute(word) for word in words[1:] if not word.startswith("/")]
        given = [each for each in relative if each in self._files]
        is_module = interpreter == "python" and "-m" in words
        if (is_module and given) or any(map(_TOOLS_SCRIPT.search, given)):
            self._directories[self._cwd] = None
        name = os.path.basename(words[0])
        told_all = name in defaults.TOLD_ALL or name in prefixes.PREFIXES or name in prefixes.SHELLS
        if is_module or (names and not told_all):
            self._small[self._cwd] = None

    def _numbered(self, path: str, word: str) -> None:
        """Files with numbers, as ffmpeg counts them: `frames/f%03d.png`."""
        directory, _, name = path.rpartition("/")
        if (word.startswith("/") and not self._is_callers(path)) or len(_NUMBERED.findall(name)) != 1:
            return
        before, _, after = _NUMBERED.split(name)
        for each in _names(directory):
            number = each.removeprefix(before).removesuffix(after)
            if each == f"{before}{number}{after}" and number.isdigit():
                self._guess(f"{directory}/{each}", word)

    def _text(self, text: str) -> None:
        """A word with blanks may be a command of the program's own: `sqlite3 x.db ".read x.sql"`."""
        for word, _ in self._named_in(text, _PARTS_MAX):
            self._word(word)

    def _input(self, text: str) -> None:
        """A file on the standard input may name others, `lmp < in.melt`; of a list of very many none goes along."""
        named = list(self._named_in(text, _INPUT_PARTS_MAX))
        if len(named) <= _INPUT_FILES_MAX and sum(size for _, size in named) <= _INPUT_FILES_BYTES_MAX:
            for word, _ in named:
                self._word(word)

    def _named_in(self, text: str, parts_max: int) -> Iterator[tuple[str, int]]:
        for word in dict.fromkeys(_PART.findall(text)[:parts_max]):
            is_relative = ("." in word or "/" in word) and not word.startswith("/")
            size = self._guesses.size(self._absolute(word)) if is_relative else None
            if size is not None:
                yield word, size

    def _directory(self, path: str, word: str, most: int = FILES_MAX) -> None:
        """What an option names as a directory to look in, `-I include`, is taken with its files: all, or none."""
        real = os.path.realpath(path)
        own = (self._cwd, self._home or "/")
        holds_own = any(within(each, path) or within(os.path.realpath(each), real) for each in own)
        if holds_own or not self._is_callers(path):
            return
        found = self._guesses.below(path, most)
        if found is None or not self._take_all(found, word):
            self._left[word] = None
        elif found:
            self._left.pop(word, None)

    def _take_all(self, found: Sequence[tuple[str, int]], word: str) -> bool:
        fresh = [(path, size) for path, size in found if path not in self._files and path not in self._yielding]
        count = len(self._files) + len(self._yielding) + len(fresh)
        if count > FILES_MAX or sum(size for _, size in fresh) > self._left_bytes:
            return False
        for path, size in fresh:
            self._take(path, word, size, True)
        return True

    def _guess(self, path: str, word: str) -> None:
        if path not in self._files and (size := self._guesses.size(path)) is not None:
            self._take(path, word, size, True)

    def _beginning_with(self, path: str, word: str) -> None:
        """Files such as an index or a header beside the one that is named: `r.fa` and `r.fa.bwt`; or `-x genome`."""
        directory, _, name = path.rpartition("/")
        if not _PREFIX.fullmatch(name) or (word.startswith("/") and not self._is_callers(path)):
            return
        if directory not in self._beside:
            self._beside[directory] = _names(directory)
        with_dot = f"{name}."
        found = [each for each in self._beside[directory] if each.startswith(with_dot)]
        for each in found if len(found) <= _BESIDE_MAX else ():
            self._guess(f"{directory}/{each}", word)

    def _take(self, path: str, word: str, size: int, callers: bool) -> None:
        if not callers and (any(within(path, each) for each in _NODES) or not os.access(path, os.R_OK)):
            return
        if size > self._left_bytes or len(self._files) + len(self._yielding) >= FILES_MAX:
            self._left[word] = None
            return
        self._left_bytes -= size
        (self._files if callers else self._yielding)[path] = None
        if word.startswith("/"):
            self._whole[path] = None

    def _is_callers(self, path: str) -> bool:
        below = [each for each in (self._cwd.rstrip("/"), self._home) if each]
        return any(within(path, each) for each in below)

    def _class_path(self, words: list[str]) -> None:
        for option, value in pairwise(words):
            if option in _CLASS_PATHS:
                for element in value.split(":"):
                    self._classes(self._absolute(element.removesuffix("/*") or "."), element)

    def _classes(self, path: str, element: str) -> None:
        if os.path.isfile(path):
            self._take(path, element, os.stat(path).st_size, True)
            return
        found = self._guesses.below(path, FILES_MAX, _CLASS, _CLASS_ENTRIES_MAX)
        if found is None or not self._take_all(found, element):
            self._left[element] = None


def _candidates(word: str) -> Iterator[tuple[str, bool]]:
    """What of a word may be a file, and whether it says so: all of it, what follows `=`, `@` or `file://`; or, as a
    guess, what follows `-X`, and the parts of a list."""
    if not word or "\0" in word or len(word) > PATH_BYTES_MAX:
        return
    yield word, True
    if word.startswith(("file://", "@")):
        word = word[7:] if word[0] == "f" else word[1:]
        yield word, True
    elif (match := _AFTER_EQUALS.fullmatch(word)) is not None:
        word = match[1]
        yield word, True
    elif _IN_ONE_WORD.fullmatch(word) is not None:
        yield word[2:], False
    if "," in word or ":" in word:
        yield from ((part, False) for part in _OF_LIST.split(word)[:FILES_MAX] if part)


def _shown(descriptor: int, most: int) -> str:
    """The first bytes that a program would read, if they are a text, else ""."""
    head = descriptors.peeked(descriptor, most)
    return "" if b"\0" in head else os.fsdecode(head)


def _names(directory: str) -> list[str]:
    """The names in a directory that are not hidden; none of one with very many."""
    try:
        with os.scandir(directory or "/") as entries:
            found = [each.name for each in islice(entries, ENTRIES_MAX + 1)]
    except OSError:
        return []
    return [] if len(found) > ENTRIES_MAX else sorted(name for name in found if not name.startswith("."))
