"""The ELF files of a bundle: programs and plug-ins, each with the libraries that its linker would load."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from gproc.bundle.image import Image
from gproc.bundle.linking import elf, search
from gproc.bundle.linking.closure import Linker, Object, why_in_closure
from gproc.bundle.surroundings import Surroundings
from gproc.errors import BundleError

_GUESSED_BYTES_MAX: Final = 50 << 20
"""Libraries that only guesses need.  A program beside a script can have gigabytes of them."""


class _TooLargeError(Exception):
    pass


class Objects:
    """What has been linked so far.

    found: the objects, by path.  configured_dirs: directories of libraries that only the linker's configuration names.
    preloaded: paths of objects that LD_PRELOAD or the like names.
    """

    def __init__(
        self,
        image: Image,
        surroundings: Surroundings,
        library_path: Sequence[str],
        add: Callable[[str, str], object],
    ) -> None:
        """add(path, reason): adds the file of an object to the bundle."""
        self._image = image
        self._surroundings = surroundings
        self._library_path = [surroundings.absolute(each) for each in library_path]
        self._add = add
        self._linkers: dict[tuple[str, elf.Abi], Linker] = {}
        self._left_for_guesses = _GUESSED_BYTES_MAX
        self.found: dict[str, Object] = {}
        self.configured_dirs: dict[str, None] = {}
        self.preloaded: set[str] = set()

    def loaders(self) -> set[str]:
        return {each.loader for each in self._linkers.values()}

    def linker(self, parsed: elf.Elf) -> Linker:
        key = parsed.interpreter, parsed.abi
        if key not in self._linkers:
            self._linkers[key] = Linker(self._image, self._surroundings, *key, self._library_path)
        return self._linkers[key]

    def parsed(self, path: str) -> elf.Elf | None:
        """The file at a real path; None if it is no ELF file."""
        status = self._image.lstat(path)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        try:
            return elf.read(self._image.host(path), self._image.memo)
        except (elf.BadElf, FileNotFoundError):  # data that only looks like ELF, or a guess that is gone
            return None

    def add_closure(
        self, linker: Linker, program: Object, modules: Sequence[str], *, guessed: bool = False
    ) -> list[Object]:
        """Add the closure of a program and of modules that it loads itself.

        Raises: BundleError if a library is missing, or if it cannot be told which one is loaded.
        """
        roots = []
        for path in modules:
            walk = self._image.walk(path)
            parsed = self.parsed(walk.real) if walk is not None else None
            if walk is not None and parsed is not None and parsed.abi == program.elf.abi:
                roots.append(Object(path, path, walk.real, parsed, program))
        return self._take(linker, program, linker.closure(program, roots), modules, guessed=guessed)

    def add_modules(self, linker: Linker, program: Object, modules: Sequence[str]) -> list[Object]:
        """The same for modules of which few will be used: one that cannot be linked goes along as it is."""
        try:
            return self.add_closure(linker, program, modules)
        except BundleError:
            closure = self.add_closure(linker, program, [])
            for path in modules:
                with suppress(BundleError):
                    closure += self.add_closure(linker, program, [path])
            return closure

    def add_program(self, path: str, parsed: elf.Elf, *, guessed: bool = False) -> None:
        """Add the closure of a program that is in the bundle."""
        linker = self.linker(parsed)
        program = linker.program(path, path, parsed)
        self._take(linker, program, linker.closure(program, [program]), [], guessed=guessed)

    def add_among(self, paths: Iterable[str], program: tuple[str, elf.Elf], *, guessed: bool = False) -> None:
        """Add the closures of the ELF files in the bundle that are plug-ins of this program, or that it starts.

        Libraries that only these need may be missing, because a tree may hold files that will never be used.
        """
        path, parsed = program
        plug_ins = []
        for each in paths:
            other = self.parsed(each)
            if other is None or other.abi != parsed.abi:
                continue
            if other.interpreter:
                self.add_program(each, other, guessed=guessed)
            else:
                plug_ins.append(each)
        walk = self._image.walk(path)
        if plug_ins and parsed.interpreter and walk is not None:
            linker = self.linker(parsed)
            self.add_closure(linker, linker.program(path, walk.real, parsed), plug_ins, guessed=guessed)

    def add_among_guesses(self, paths: Sequence[str], program: tuple[str, elf.Elf]) -> None:
        """The same for files that nobody asked for.

        One that cannot be linked, such as another system's, goes along as it is, and so does one whose libraries are
        too large for a guess.
        """
        try:
            self.add_among(paths, program, guessed=True)
        except (BundleError, _TooLargeError):
            for path in paths:
                with suppress(BundleError, _TooLargeError):
                    self.add_among([path], program, guessed=True)

    def _take(
        self, linker: Linker, program: Object, closure: list[Object], modules: Sequence[str], *, guessed: bool
    ) -> list[Object]:
        if guessed:
            self._afford(closure)
        for each in closure:
            if each.loaded_by is not None:
                self._add(each.path, why_in_closure(each, linker.loader, modules))
            if each.name in linker.preloaded:
                self.preloaded.add(each.path)
            directory = (self._image.parent(each.path) or each.path).rpartition("/")[0]
            own = each.path == linker.loader or f"/{search.HWCAPS}/" in each.path or each.loaded_by is None
            if not own and linker.is_configured(each, program):
                self.configured_dirs[directory] = None
            self.found.setdefault(each.path, each)
        return closure

    def _afford(self, closure: Sequence[Object]) -> None:
        new = {each.real for each in closure if each.path not in self.found and each.loaded_by is not None}
        size = sum(status.st_size for path in new if (status := self._image.lstat(path)) is not None)
        if size > self._left_for_guesses:
            raise _TooLargeError
        self._left_for_guesses -= size
