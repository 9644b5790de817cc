"""A program packed from scratch: its interpreters, their closures, what they load by name, and extras.

`gproc.packager` imports this module only if its cache has no answer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gproc.bundle import elf, extras, glibc, language, search, starting
from gproc.bundle.closure import Linker, Object
from gproc.bundle.entries import BundleEntries
from gproc.bundle.home import Home, is_shared_object
from gproc.bundle.image import Image
from gproc.bundle.surroundings import Surroundings
from gproc.content.manifest import Digest, Manifest
from gproc.errors import BundleError


class Packed(msgspec.Struct, frozen=True):
    """A fresh bundle.

    sources: the path that each file is read from.  reasons: why each file and link is there.  made: chunks that are
    not read again.
    """

    manifest: Manifest
    sources: dict[bytes, bytes]
    reasons: dict[bytes, str]
    made: dict[Digest, bytes]


def pack(
    image: Image,
    surroundings: Surroundings,
    program: str,
    extra: Sequence[str],
    library_path: Sequence[str],
    superuser: bool,
) -> Packed:
    """The bundle of a program in an image.

    program: absolute path, executable.  superuser: may pack a set-id program, which the bundle has without that bit.
    Raises: BundleError and its subclasses, which name the file.
    """
    _refuse_set_id(image, program, superuser)
    layout = BundleEntries(image)
    for item in extra:
        extras.add(image, layout, item, surroundings.absolute)
    return _Packing(image, surroundings, layout, library_path).run(program)


class _Packing:
    """One bundle in the making."""

    def __init__(
        self, image: Image, surroundings: Surroundings, layout: BundleEntries, library_path: Sequence[str]
    ) -> None:
        self._image = image
        self._surroundings = surroundings
        self._layout = layout
        self._library_path = [surroundings.absolute(each) for each in library_path]
        self._code_dirs: set[str] = set()
        self._objects: dict[str, Object] = {}
        self._linkers: dict[tuple[str, elf.Abi], Linker] = {}
        self._configured_dirs: dict[str, None] = {}
        self._extras = frozenset(layout.paths())

    def run(self, program: str) -> Packed:
        started = starting.started_by(self._image, self._surroundings, program)
        for path in started.scripts:
            self._add_code(path, "the program" if path == program else f"run by {started.scripts[0]}")
        for path, parsed in started.programs:
            last = started.scripts[-1] if started.scripts else ""
            self._add_program(path, parsed, "the program" if path == program else f"runs {last}", last)
        self._add_objects_among(sorted(self._extras), started.programs[0])
        entries, sources = self._layout.entries()
        manifest = Manifest(
            program=os.fsencode(self._image.parent(program) or program),
            loader=os.fsencode(started.programs[0][1].interpreter),
            library_dirs=tuple(map(os.fsencode, self._library_dirs())),
            code_dirs=tuple(map(os.fsencode, _outermost(self._code_dirs))),
            glibc=tuple(map(os.fsencode, self._glibc_paths())),
            glibc_version=glibc.version(self._image, self._objects.values()),
            entries=entries,
            configured_dirs=tuple(map(os.fsencode, self._configured_dirs)),
        )
        reasons = {os.fsencode(path): reason for path, reason in self._layout.reasons.items()}
        return Packed(manifest, sources, reasons, self._layout.made)

    def _add_program(self, path: str, parsed: elf.Elf, reason: str, runs: str) -> None:
        """Add a program, its closure, and what its language and its C library load by name.

        runs: the script that it runs, or "".
        """
        linker = self._linker(parsed)
        real = self._add_code(path, reason)
        program = linker.program(path, real, parsed)
        closure = self._add_closure(linker, program, [])
        home = language.home_of(self._image, self._surroundings, program, closure, runs)
        modules = self._add_home(home, f"library of {path}") if home is not None else []
        libc = next((each for each in closure if each.elf.soname == "libc.so.6"), None)
        if libc is not None:
            directory = os.path.dirname(self._image.parent(libc.path) or libc.path)
            if home is not None:
                self._add_locale()
            if glibc.uses_names(self._image, closure):
                modules += glibc.name_modules(self._image, libc.path)
            if glibc.converts(self._image, program):
                converters, tables = glibc.conversion_files(self._image, f"{directory}/libc.so.6")
                modules += converters
                for table in tables:
                    self._layout.add(table, "gconv: converts character sets")
        if modules:
            self._add_closure(linker, program, modules)

    def _add_closure(self, linker: Linker, program: Object, modules: Sequence[str]) -> list[Object]:
        """Add the closure of a program and of modules that it loads itself."""
        roots = []
        for path in modules:
            walk = self._image.walk(path)
            parsed = self._parsed(walk.real) if walk is not None else None
            if walk is not None and parsed is not None and parsed.abi == program.elf.abi:
                roots.append(Object(path, path, walk.real, parsed, program))
        return self._take(linker, program, linker.closure(program, roots), modules)

    def _take(self, linker: Linker, program: Object, closure: list[Object], modules: Sequence[str]) -> list[Object]:
        for each in closure:
            # A module that -f added appears only below binRoot: its directory stays the node's own, and writable.
            if each.loaded_by is not None and not (each.path in modules and each.path in self._extras):
                self._add_code(each.path, _reason(each, linker.loader, modules))
            directory = (self._image.parent(each.path) or each.path).rpartition("/")[0]
            own = each.path == linker.loader or f"/{search.HWCAPS}/" in each.path or each.loaded_by is None
            if not own and (linker.is_configured(each, program) or self._is_shared(directory)):
                self._configured_dirs[directory] = None
            self._objects.setdefault(each.path, each)
        return closure

    def _add_home(self, home: Home, reason: str) -> list[str]:
        """Add an interpreter's library.  Returns the extension modules in it."""
        real = [self._add_code(path, reason) for path in home.files]
        roots = []
        for tree in home.trees:
            roots.append(self._layout.add_tree(tree.path, reason, tree.omits) + "/")
            self._add_code_dir(roots[-1].rstrip("/"))
        mine = [path for path in self._layout.paths() if path.startswith(tuple(roots))]
        return sorted(path for path in (*mine, *real) if is_shared_object(path))

    def _add_locale(self) -> None:
        """Add the one locale that an interpreter can rely on for text that is not ASCII."""
        if self._image.is_directory(glibc.UTF8_LOCALE):
            self._add_code_dir(self._layout.add_tree(glibc.UTF8_LOCALE, "C.UTF-8, for an interpreter"))

    def _add_objects_among(self, paths: Iterable[str], program: tuple[str, elf.Elf]) -> None:
        """Add the closures of the ELF files that `-f` added: plug-ins, and programs that this one starts.

        Libraries that only these need may be missing, because a tree may hold files that will never be used.
        """
        path, parsed = program
        plug_ins = []
        for each in paths:
            extra = self._parsed(each)
            if extra is None or extra.abi != parsed.abi:
                continue
            if extra.interpreter:
                linker = self._linker(extra)
                other = linker.program(each, each, extra)
                self._take(linker, other, linker.closure(other, [other]), [])
            else:
                plug_ins.append(each)
        walk = self._image.walk(path)
        if plug_ins and parsed.interpreter and walk is not None:
            linker = self._linker(parsed)
            self._add_closure(linker, linker.program(path, walk.real, parsed), plug_ins)

    def _parsed(self, path: str) -> elf.Elf | None:
        status = self._image.lstat(path)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        try:
            return elf.read(self._image.host(path), self._image.memo)
        except elf.BadElf:
            # Data that only looks like ELF (an object file, a core dump) is packed as it is.
            return None

    def _linker(self, parsed: elf.Elf) -> Linker:
        key = parsed.interpreter, parsed.abi
        if key not in self._linkers:
            self._linkers[key] = Linker(self._image, self._surroundings, *key, self._library_path)
        return self._linkers[key]

    def _add_code(self, path: str, reason: str) -> str:
        real = self._layout.add(path, reason)
        self._add_code_dir(real.rpartition("/")[0])
        self._add_code_dir((self._image.parent(path) or path).rpartition("/")[0])
        return real

    def _add_code_dir(self, directory: str) -> None:
        if not self._is_shared(directory):
            self._code_dirs.add(directory)

    def _is_shared(self, directory: str) -> bool:
        """Whether every user may write there, as in /tmp.  A union would make it read-only, so files there run from
        below binRoot."""
        status = self._image.lstat(directory)
        wide = stat.S_ISVTX | stat.S_IWOTH
        return status is not None and status.st_mode & wide == wide

    def _library_dirs(self) -> tuple[str, ...]:
        holders: dict[str, set[str]] = {}
        for path in self._layout.paths():
            directory, _, name = path.rpartition("/")
            holders.setdefault(name, set()).add(directory)
        constraints = []
        loaders = {linker.loader for linker in self._linkers.values()}
        for path, each in self._objects.items():
            directory, _, name = (self._image.parent(path) or path).rpartition("/")
            if each.loaded_by is None or path in loaders or f"/{search.HWCAPS}/" in path or "/" in each.name:
                continue
            constraints.append((directory, frozenset(holders[name])))
        directories = {directory for directory, _ in constraints}
        return search.ordered([(directory, others & directories) for directory, others in constraints])

    def _glibc_paths(self) -> list[str]:
        """The paths of the parts of glibc in this bundle, and of links to them."""
        if not any(each.elf.soname == "libc.so.6" for each in self._objects.values()):
            return []
        parts = [each for each in self._objects.values() if glibc.is_part(each.real) and each.path not in self._extras]
        places = {os.path.dirname(each.real) for each in parts}
        places |= {os.path.dirname(self._image.parent(each.path) or each.path) for each in parts}
        return sorted(path for path in self._layout.paths() if glibc.is_part(path) and os.path.dirname(path) in places)


def _refuse_set_id(image: Image, program: str, superuser: bool) -> None:
    walk = image.walk(program)
    if walk is None or superuser or not walk.status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return
    kind = "set-user-id" if walk.status.st_mode & stat.S_ISUID else "set-group-id"
    raise BundleError(
        f"{image.shown(walk.real)}: is {kind}; on the nodes it would run without that right;"
        " -localbin runs the node's own program"
    )


def _reason(each: Object, loader: str, modules: Sequence[str]) -> str:
    if each.path == loader:
        return "dynamic linker"
    by = each.loaded_by.path if each.loaded_by is not None else "nothing"
    return f"loaded by name by {by}" if each.path in modules else f"needed by {by}"


def _outermost(directories: set[str]) -> Iterator[str]:
    """The directories that are in no other one; "/" does not count."""
    last = ""
    # Sorted by component: as strings, "/a-b" would be between "/a" and "/a/b".
    for directory in sorted((each for each in directories if each), key=lambda path: path.split("/")):
        if not last or not directory.startswith(f"{last}/"):
            last = directory
            yield directory
