"""What a compiled program of the caller's names in its own file: files beside it or in the working directory, programs
that it runs, and libraries that it opens by their names (dlopen).

A guess by its strings, as strings(1) shows them.  Programs of the distribution are not searched.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gproc.bundle import locale_files
from gproc.bundle.command import prefixes
from gproc.bundle.image import Image
from gproc.bundle.linking import elf
from gproc.bundle.linking.closure import Linker, Object
from gproc.bundle.meaning import Ran
from gproc.bundle.surroundings import Surroundings
from gproc.bundle.texts import named, near, patterns
from gproc.bundle.texts.affordable import affordable
from gproc.bundle.texts.beside import is_of_distribution
from gproc.bundle.texts.mentioned import Mentioned
from gproc.bundle.texts.running import ran_by
from gproc.content.paths import within

_SEARCHED_BYTES: Final = 32 << 20
_NAMES_MAX: Final = 500
_LINES_MAX: Final = 1000

_NAME: Final = re.compile(rb"(?<=\0)([A-Za-z0-9_.][\w./+@%-]{2,200})(?=\0)")
_BELOW: Final = re.compile(rb"(?<=\0)(?:%s)?/((?:[\w.+@%-]{1,100}/){1,8}[\w.+@%-]{1,100})(?=\0)")
"""What follows a directory that the program finds out: `"%s/../share/x.conf"`, or `root + "/share/x.conf"`."""

_SOURCE: Final = re.compile(rb"^\.\w|^GLIBC|^GCC_|\.(c|cc|cpp|cxx|h|hpp|f|f90|F90|rs|go|s|S|o|so[\d.]*)$")
_LIBRARY: Final = re.compile(rb"lib[\w+.-]{1,100}\.so[\d.]*")
_OF_DRIVERS: Final = re.compile(r"lib(cuda|nvidia|GLX_|EGL_|mlx|ibverbs|rdmacm|hip|amdhip|hsa|ze_loader|OpenCL)")
"""Libraries that must fit the node's kernel: docs/fidelity.md, "Hardware drivers"."""

_OPENS: Final = frozenset({b"dlopen"})
_LISTS: Final = frozenset({
    b"opendir", b"scandir", b"scandir64", b"nftw", b"nftw64", b"ftw", b"fts_open", b"glob", b"glob64",
    b"_ZNSt10filesystem7__cxx1118directory_iteratorC1ERKNS0_4pathENS_17directory_optionsEPSt10error_code",
    b"_ZNSt10filesystem7__cxx1128recursive_directory_iteratorC1ERKNS0_4pathENS_17directory_optionsEPSt10error_code",
})  # fmt: skip
_SELF: Final = b"/proc/self/exe\0"
_LOCALISED: Final = frozenset({b"setlocale", b"newlocale", b"_ZNSt6localeC1EPKc"})
_RUNS: Final = frozenset({
    b"system", b"popen", b"execl", b"execlp", b"execle", b"execv", b"execvp", b"execvpe", b"execve", b"posix_spawn",
    b"posix_spawnp", b"_gfortran_system", b"_gfortran_system_sub", b"_gfortran_execute_command_line_i4",
})  # fmt: skip
_SEARCHES: Final = frozenset({b"execlp", b"execvp", b"execvpe", b"posix_spawnp"})
"""Those that are given a program's bare name; system(3) and popen(3) are given a line."""

_LINE: Final = re.compile(rb"(?<=\0)[A-Za-z_./][\w./+-]{0,100}(?: [^\0\n]{0,400})?(?=\0)")
_PROGRAM: Final = re.compile(r"[\w./+-]{2,100}")
_IS_FILE: Final = re.compile(r"[\w./+@-]{2,200}")
_ARGUMENT: Final = re.compile(
    r"-{1,2}\w|[<>|]|\.{0,2}/\w|(?!e\.g|i\.e|and/or|[\d.]+\Z).{0,200}?\w[./]\w|[\w./-]{1,200}%s|%s[\w./-]"
)
"""What tells a command from a sentence that begins with a program's name: an option, a redirection, a path.

A full stop behind a word ends a sentence.
"""

_UNENDED: Final = (
    b"_gfortran_", b"libstd-", b"rust_begin_unwind", b"rust_panic", b"/rustc/", b"go.buildid", b"Go build",
)  # fmt: skip
"""Fortran, Rust and Go do not end their strings with a zero: names cannot be told from what stands behind them."""


class Literals(NamedTuple):
    """names: strings of a program that may be names.  lines: that may be commands.

    below: what it puts behind a directory that it finds out.  opens: whether it calls dlopen(3).
    lists: opendir(3) or the like.  unended: its text, if its strings have no ends.
    locales: their names, if it calls setlocale(3).
    needs_its_place: it looks for its own path, or for plug-ins from there.
    """

    names: list[bytes]
    opens: bool
    below: tuple[bytes, ...] = ()
    lists: bool = False
    lines: tuple[str, ...] = ()
    unended: bytes = b""
    locales: tuple[str, ...] = ()
    needs_its_place: bool = False


def literals_of(image: Image, program: Object) -> Literals:
    """There are none for a program of the distribution: its file is not read."""
    if is_of_distribution(program.real):
        return Literals([], False)
    text = image.text(program.real, _SEARCHED_BYTES)
    host = image.host(program.real)
    is_static = not program.elf.needed
    is_unended = any(sign in text for sign in _UNENDED)
    opens = elf.mentions(host, program.elf, _OPENS)
    searched = f"{program.rpath or ''}{program.runpath or ''}"
    lines: set[bytes] = set()
    if is_static or elf.mentions(host, program.elf, _RUNS):
        bare = elf.mentions(host, program.elf, _SEARCHES)
        lines = {line for line in _LINE.findall(text) if not is_static or b" -" in line}
        lines = {line for line in lines if bare or b" " in line or b"/" in line}
    return Literals(
        names=sorted(set(_NAME.findall(text)))[:_NAMES_MAX],
        opens=opens,
        below=tuple(sorted(set(_BELOW.findall(text))))[:_LINES_MAX],
        lists=elf.mentions(host, program.elf, _LISTS),
        lines=tuple(map(os.fsdecode, sorted(lines)[:_LINES_MAX])),
        locales=tuple(locale_files.named_in(text)) if elf.mentions(host, program.elf, _LOCALISED) else (),
        unended=text if is_unended else b"",
        # The libraries of Rust and Go name /proc/self/exe in every program.
        needs_its_place=(_SELF in text and not is_unended) or (opens and "$ORIGIN" in searched),
    )


def files_in(mentioned: Mentioned, program: Object, literals: Literals) -> Iterator[str]:
    """The files that a program names by a relative path, by a pattern of printf(3), or by a directory that it lists."""
    for path, size in _files(mentioned, os.path.dirname(program.real), literals):
        if mentioned.take(path, size):
            yield path


def _files(mentioned: Mentioned, own: str, literals: Literals) -> Iterator[tuple[str, int]]:
    image, home = mentioned.image, mentioned.home
    bases = [each.rstrip("/") for each in dict.fromkeys((mentioned.cwd, own))]
    names = [name for name in literals.names if (b"." in name or b"/" in name) and not _SOURCE.search(name)]
    if literals.opens:
        names += [name for name in literals.names if b"/" in name and name.endswith(b".so")]
    for name in map(os.fsdecode, names):
        for base in bases:
            yield from _file(mentioned, os.path.normpath(f"{base}/{name}"))
    for name in map(os.fsdecode, literals.below):
        for base in (own, os.path.dirname(own)):
            yield from _file(mentioned, os.path.normpath(f"{base.rstrip('/')}/{name}"))
    for word in dict.fromkeys(word for line in literals.lines if " " in line for word in line.split()):
        if _IS_FILE.fullmatch(word) and ("." in word or os.path.isfile(image.host(f"{bases[0]}/{word}"))):
            yield from _file(mentioned, os.path.normpath(f"{bases[0]}/{word}"))
    for pattern in map(os.fsdecode, named.patterns_in(names)):
        for base in bases:
            yield from patterns.matching(image, os.path.normpath(f"{base}/{pattern}"), (*bases, home))
    for name in map(os.fsdecode, literals.names):
        for base in dict.fromkeys((*bases, os.path.dirname(own).rstrip("/"))):
            yield from _directory(mentioned, os.path.normpath(f"{base}/{name}"), own, literals.lists)
    for base in bases if literals.unended else ():
        yield from near.files_named(image, base, home, literals.unended)


def _file(mentioned: Mentioned, path: str) -> Iterator[tuple[str, int]]:
    walk = mentioned.image.glance(path)
    if walk is None:
        mentioned.expect(path)
    elif stat.S_ISREG(walk.status.st_mode) and not is_of_distribution(walk.real):
        yield path, walk.status.st_size


def _directory(mentioned: Mentioned, path: str, own: str, lists: bool) -> Iterator[tuple[str, int]]:
    """The files in a directory that is none of those around it: more, if the program lists directories."""
    if is_of_distribution(path) or within(mentioned.cwd, path) or within(own, path):
        return
    if os.path.isdir(mentioned.image.host(path)):
        yield from patterns.whole(mentioned.image, path, mentioned.home, lists)
    elif lists and not os.path.basename(path).startswith("_"):  # as symbols do
        mentioned.expect(path)


def programs_in(image: Image, surroundings: Surroundings, literals: Literals) -> Iterator[Ran]:
    """The programs that a program may run, each with the script that it gives to an interpreter."""
    return affordable(image, surroundings, (ran_by(image, surroundings, words) for words in _commands(literals.lines)))


def _commands(lines: Sequence[str]) -> Iterator[list[str]]:
    for line in lines:
        commands = list(prefixes.in_shell_line(line)) if " " in line else [[line]]
        is_said = " " not in line or any(map(_is_command, commands))
        for words in commands:
            if is_said and (len(words) == 1 or _is_command(words)) and _PROGRAM.fullmatch(words[0]):
                yield words


def _is_command(words: Sequence[str]) -> bool:
    return len(words) > 1 and (words[-1] == "%s" or any(map(_ARGUMENT.match, words[1:])))


def libraries_in(linker: Linker, program: Object, literals: Literals) -> Iterator[str]:
    """The libraries that a program names, and neither needs nor has from a driver."""
    for name in map(os.fsdecode, filter(_LIBRARY.fullmatch, literals.names if literals.opens else [])):
        if name not in program.elf.needed and not _OF_DRIVERS.match(name):
            yield from (each.path for each in linker.find(name, program, program))
