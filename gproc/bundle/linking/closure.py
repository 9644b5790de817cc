"""A program and all shared libraries that its dynamic linker would load, found by the linker's rules.

Nothing is executed.  If a library exists in builds for several processors (glibc-hwcaps), all of them are taken,
because the node's processor decides, and the plain build last, if there is one.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from gproc.bundle.image import Image, Walk
from gproc.bundle.linking import elf, ldconfig, search
from gproc.bundle.linking.elf import Abi, Elf
from gproc.bundle.surroundings import Surroundings
from gproc.errors import BundleError

OBJECTS_MAX: Final = 10_000
"""Libraries of one program: a bound for a program made to harm.  LibreOffice loads 200."""

LOOKUPS_MAX: Final = 1_000_000
"""Files that one linker looks for.  date needs 2 lookups, gdb with Python 114.  500 libraries, each in a prefix of its
own and with an RPATH that lists all, need 125,000.  A search path that needs more was made to cost time."""


class LibraryMissing(BundleError):
    """A library that was found in none of the searched places."""

    def __init__(self, name: str, needed_by: str, searched: tuple[str, ...]) -> None:
        super().__init__(name, needed_by, searched)
        self.name = name
        self.needed_by = needed_by
        self.searched = searched

    def __str__(self) -> str:
        searched = f"not found in {', '.join(self.searched)}" if self.searched else "there are no directories to search"
        return f"{self.needed_by} needs {self.name}, {searched}; -L names more directories"


class Object:
    """One ELF file in a closure.

    path: as the linker finds it; $ORIGIN is made from it.  real: the same path without links.
    name: the needed name.  loaded_by: the object that needs it; None for the program.
    """

    __slots__ = ("elf", "loaded_by", "name", "path", "real")

    def __init__(self, name: str, path: str, real: str, elf: Elf, loaded_by: Object | None) -> None:
        self.name = name
        self.path = path
        self.real = real
        self.elf = elf
        self.loaded_by = loaded_by

    @property
    def origin(self) -> str:
        # The kernel gives the program its own path without links; a library's path is as it was found (dl-origin.c).
        return os.path.dirname(self.path if self.loaded_by is not None else self.real)

    @property
    def rpath(self) -> str | None:
        return self.elf.rpath

    @property
    def runpath(self) -> str | None:
        return self.elf.runpath


class Linker:
    """The dynamic linker of one program: its kind, its directories, its closure."""

    def __init__(
        self, image: Image, surroundings: Surroundings, loader: str, abi: Abi, library_path: Sequence[str] = ()
    ) -> None:
        self._image = image
        self._surroundings = surroundings
        self._abi = abi
        self._abis: dict[str, Abi | None] = {}
        self._parsed: dict[str, Elf | None] = {}
        self._lookups = 0
        self.loader = loader
        self.preloaded: set[str] = set()
        """The names by which LD_PRELOAD has libraries loaded."""
        self.is_musl = os.path.basename(loader).startswith("ld-musl-")
        if not loader:
            self._system = ldconfig.NO_SYSTEM
        elif self.is_musl:
            self._system = ldconfig.musl_system(image, loader)
        else:
            self._system = ldconfig.glibc_system(image, loader, abi)
        # Neither musl nor a static program knows $LIB and $PLATFORM.
        plain = self.is_musl or not loader
        self._tokens = search.MUSL_TOKENS if plain else search.tokens_of(abi.machine, self._system.default_dirs)
        self._library_path = tuple(library_path)

    def program(self, path: str, real: str, parsed: Elf) -> Object:
        return Object(path, path, real, parsed, None)

    def closure(self, program: Object, roots: Sequence[Object] = ()) -> list[Object]:
        """The program, its loader, and every library of theirs and of `roots`, breadth first.

        roots: objects that the program may load itself later (dlopen), with the program as `loaded_by`; or the program
            itself.  A library that only these need may be missing: it may be for a toolkit that is not installed.
        Raises: LibraryMissing; BundleError if a library is broken.
        """
        optional = set(roots)
        names: dict[str, Object] = {}
        found: dict[str, Object] = {}
        queue: deque[Object] = deque()

        def load(each: Object) -> None:
            names.setdefault(each.name, each)
            if each.real in found:
                return
            if each.elf.soname:
                names.setdefault(each.elf.soname, each)
            found[each.real] = each
            queue.append(each)
            if len(found) > OBJECTS_MAX:
                raise BundleError(f"{self._image.shown(program.path)}: needs more than {OBJECTS_MAX} libraries")

        load(program)
        if self.loader:
            load(self._loader_object(program))
        for each in (*self._preloads(program), *roots):
            load(each)
        while queue:
            each = queue.popleft()
            for name in each.elf.needed:
                if name in names or (self.is_musl and search.is_musl_itself(name)):
                    continue
                variants = self.find(name, each, program)
                if not variants and optional.isdisjoint(search.chain_of(each)):
                    searched = tuple(dict.fromkeys(self._searched(name, each, program)))
                    raise LibraryMissing(name, self._image.shown(each.path), searched)
                for variant in variants:
                    load(variant)
        return list(found.values())

    def find(self, name: str, holder: Object, program: Object) -> list[Object]:
        """The files for a needed name: builds for certain processors first, then the plain one; [] if there is none."""
        if not search.is_library_path_safe(name):
            shown = self._image.shown(holder.path)
            raise BundleError(f"{shown}: needs {name!r}, which is neither a plain name nor a path without '..'")
        for path in self._expanded(name, holder):
            if "/" in path:
                return self._usable(name, [self._surroundings.absolute(path)], holder)
        paths: list[str] = []
        for path, is_plain in self._candidates(name, holder, program):
            paths.append(path)
            if is_plain:
                break
        return self._usable(name, paths, holder)

    def _candidates(self, name: str, holder: Object, program: Object) -> Iterator[tuple[str, bool]]:
        """The files that the linker would accept, in its order, each with whether it is the plain build."""
        for directory in self._directories_before_cache(holder, program):
            yield from self._candidates_in(directory, name)
        for entry in (self._system.cache or {}).get(name, ()):
            if holder.elf.no_default_dirs and os.path.dirname(entry.path) in self._system.searched_last:
                continue
            if self._accepts(*os.path.split(entry.path)):
                yield entry.path, not entry.variant
        for directory in () if holder.elf.no_default_dirs else self._system.searched_last:
            yield from self._candidates_in(directory, name)

    def _candidates_in(self, directory: str, name: str) -> Iterator[tuple[str, bool]]:
        for variant in self._variants(directory, name):
            yield variant, False
        if self._accepts(directory, name):
            yield f"{directory}/{name}", True

    def _expanded(self, name: str, holder: Object) -> tuple[str, ...]:
        return search.expand(name, holder.origin, self._tokens) if "$" in name else (name,)

    def _loader_object(self, program: Object) -> Object:
        walk = self._image.walk(self.loader)
        parsed = self._read(walk) if walk is not None else None
        if walk is None or parsed is None:
            shown = self._image.shown(program.path)
            raise BundleError(f"{shown}: its dynamic linker {self.loader} is missing or is not an ELF file")
        return Object(self.loader, self.loader, walk.real, parsed, program)

    def _preloads(self, program: Object) -> Iterator[Object]:
        """The libraries of LD_PRELOAD and /etc/ld.so.preload.  The linker ignores missing ones with a warning."""
        wanted = (self._surroundings.variable("LD_PRELOAD") or "").replace(":", " ").split()
        if not self.is_musl:
            text = os.fsdecode(self._image.content("/etc/ld.so.preload", 1 << 16) or b"")
            wanted += " ".join(line.partition("#")[0] for line in text.splitlines()).replace(":", " ").split()
        for name in (each for written in wanted for each in search.expand(written, program.origin, self._tokens)):
            self.preloaded.add(name)
            if "/" in name:
                yield from self._usable(name, [self._surroundings.absolute(name)], program)
            else:
                yield from self.find(name, program, program)

    def _directories_before_cache(self, holder: Object, program: Object) -> Iterator[str]:
        environ_path = self._surroundings.variable("LD_LIBRARY_PATH") or ""
        given = [
            self._surroundings.absolute(each)
            for each in search.expand_path(environ_path, program.origin, self._tokens, ":;")
        ]
        given += self._library_path
        if self.is_musl:
            order = search.musl_order(holder, given)
            yield from (self._surroundings.absolute(each) for each in order)
        else:
            order = search.glibc_order(holder, program, given, self._tokens)
            yield from (self._surroundings.absolute(each) for each in order)

    def _searched(self, name: str, holder: Object, program: Object) -> Iterator[str]:
        if "/" in name:
            yield from self._expanded(name, holder)
            return
        yield from self._directories_before_cache(holder, program)
        if self._system.cache is not None:
            yield "/etc/ld.so.cache"
        if not holder.elf.no_default_dirs:
            yield from self._system.searched_last

    def is_configured(self, each: Object, program: Object) -> bool:
        """Whether a library is found only because of -L or this machine's configuration.

        False if it is found by the loader's own directories, an RPATH or RUNPATH, or the environment.
        """
        directory = os.path.dirname(each.path)
        if each.loaded_by is None or "/" in each.name or directory in self._system.default_dirs:
            return False
        if directory in self._library_path:
            return True
        return directory not in self._directories_before_cache(each.loaded_by, program)

    def _variants(self, directory: str, name: str) -> list[str]:
        if self.is_musl or self._image.search(directory, search.HWCAPS) is None:
            return []
        levels = self._image.names(f"{directory}/{search.HWCAPS}")
        found = [f"{directory}/{search.HWCAPS}/{level}" for level in reversed(levels)]
        return [f"{each}/{name}" for each in found if self._accepts(each, name)]

    def _accepts(self, directory: str, name: str) -> bool:
        """Whether the linker would take this file.  It ignores files of another class or machine."""
        self._lookups += 1
        if self._lookups > LOOKUPS_MAX:
            raise BundleError(
                f"{name}: not found after {LOOKUPS_MAX} lookups of libraries: the search paths are too long"
            )
        walk = self._image.search(directory, name)
        if walk is None or not stat.S_ISREG(walk.status.st_mode):
            return False
        if self.is_musl:
            return True
        if walk.real not in self._abis:
            try:
                self._abis[walk.real] = elf.abi_of(self._image.host(walk.real))
            except PermissionError:
                self._abis[walk.real] = None
                return False
            if self._abis[walk.real] is None:
                shown = self._image.shown(walk.real)
                raise BundleError(f"{shown}: the linker would load it as {name}, but it is not an ELF file")
        return self._abis[walk.real] == self._abi

    def _usable(self, name: str, paths: Sequence[str], holder: Object) -> list[Object]:
        objects = []
        for path in paths:
            walk = self._image.walk(path)
            parsed = self._read(walk) if walk is not None else None
            if walk is not None and parsed is not None and parsed.abi == self._abi:
                objects.append(Object(name, path, walk.real, parsed, holder))
        return objects

    def _read(self, walk: Walk) -> Elf | None:
        if not stat.S_ISREG(walk.status.st_mode):
            return None
        if walk.real not in self._parsed:
            self._parsed[walk.real] = elf.read(self._image.host(walk.real), self._image.memo)
        return self._parsed[walk.real]


def why_in_closure(each: Object, loader: str, modules: Sequence[str]) -> str:
    """For people.  modules: those that the program loads itself."""
    if each.path == loader:
        return "dynamic linker"
    by = each.loaded_by.path if each.loaded_by is not None else "nothing"
    return f"loaded by name by {by}" if each.path in modules else f"needed by {by}"
