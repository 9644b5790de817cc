"""A program made into a bundle from scratch: its interpreters, their closures, what they load by name, and extras.

Cold work: `gproc.packager` comes here only when its cache has no answer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gproc.bundle import elf, extras, glibc, language, script, search, which
from gproc.bundle.closure import Linker, Object
from gproc.bundle.image import Image
from gproc.bundle.layout import Layout
from gproc.bundle.manifest import Manifest
from gproc.bundle.surroundings import Surroundings
from gproc.errors import BundleError, ProgramNotExecutable


class Packed(msgspec.Struct, frozen=True):
    """A fresh bundle; `sources`: where each file is read from; `reasons`: why each file and link is there."""

    manifest: Manifest
    sources: dict[bytes, bytes]
    reasons: dict[bytes, str]


class Started(msgspec.Struct, frozen=True):
    """What starting the program executes: scripts first, then the ELF programs that run them.

    programs: path and contents of each ELF file; the kernel runs the first, `env` the one after it.
    """

    scripts: tuple[str, ...]
    programs: tuple[tuple[str, elf.Elf], ...]


def pack(
    image: Image,
    surroundings: Surroundings,
    program: str,
    extra: Sequence[str],
    library_path: Sequence[str],
    superuser: bool,
) -> Packed:
    """The bundle of a program in an image.

    program: absolute path, executable.  superuser: may pack a set-id program, which then travels without the bit.
    Raises: BundleError and its kinds, naming the file.
    """
    _refuse_set_id(image, program, superuser)
    layout = Layout(image)
    for item in extra:
        extras.add(image, layout, item, surroundings.absolute)
    return _Packing(image, surroundings, layout, library_path).run(program, bool(extra))


class _Packing:
    """One bundle in the making."""

    def __init__(self, image: Image, surroundings: Surroundings, layout: Layout, library_path: Sequence[str]) -> None:
        self._image = image
        self._surroundings = surroundings
        self._layout = layout
        self._library_path = [surroundings.absolute(each) for each in library_path]
        self._code_dirs: set[str] = set()
        self._objects: dict[str, Object] = {}
        self._linkers: dict[tuple[str, elf.Abi], Linker] = {}
        self._configured_dirs: dict[str, None] = {}

    def run(self, program: str, with_extras: bool) -> Packed:
        asked_for = sorted(self._layout.paths()) if with_extras else []
        started = started_by(self._image, self._surroundings, program)
        for path in started.scripts:
            self._add_code(path, "the program" if path == program else f"run by {started.scripts[0]}")
        for path, parsed in started.programs:
            self._add_program(path, parsed, "the program" if path == program else f"runs {started.scripts[-1]}")
        self._add_objects_among(asked_for, started.programs[0])
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
        return Packed(manifest, sources, reasons)

    def _add_program(self, path: str, parsed: elf.Elf, reason: str) -> None:
        """A program, its closure, and what its language and its C library load by name."""
        linker = self._linker(parsed)
        real = self._add_code(path, reason)
        program = linker.program(path, real, parsed)
        closure = self._add_closure(linker, program, [])
        home = language.home_of(self._image, self._surroundings, program, closure)
        modules = self._add_language(home) if home is not None else []
        libc = next((each for each in closure if each.elf.soname == "libc.so.6"), None)
        if libc is not None:
            directory = os.path.dirname(self._image.parent(libc.path) or libc.path)
            if glibc.uses_names(self._image, closure):
                modules += glibc.name_modules(self._image, libc.path)
            if glibc.converts(self._image, program):
                converters, tables = glibc.conversion_files(self._image, f"{directory}/libc.so.6")
                modules += converters
                for table in tables:
                    self._layout.add(table, "gconv: converts character sets")
        self._add_closure(linker, program, modules)

    def _add_closure(self, linker: Linker, program: Object, modules: Sequence[str]) -> list[Object]:
        """The closure of a program and of objects that it opens by itself."""
        roots = []
        for path in modules:
            walk = self._image.walk(path)
            parsed = elf.read(self._image.host(walk.real)) if walk is not None else None
            if walk is not None and parsed is not None and parsed.abi == program.elf.abi:
                roots.append(Object(path, path, walk.real, parsed, program))
        closure = linker.closure(program, roots)
        for each in closure:
            if each.loaded_by is not None:
                self._add_code(each.path, _reason(each, linker.loader, modules))
            directory = (self._image.parent(each.path) or each.path).rpartition("/")[0]
            if f"/{search.HWCAPS}/" not in each.path and linker.is_configured(each, program):
                self._configured_dirs[directory] = None
            self._objects.setdefault(each.path, each)
        return closure

    def _add_language(self, home: language.Home) -> list[str]:
        for tree in home.trees:
            self._code_dirs.add(self._layout.add_tree(tree, home.reason, home.omits))
        for path in home.files:
            self._add_code(path, home.reason)
        return [path for path in self._layout.paths() if home.is_module(path)]

    def _add_objects_among(self, paths: Iterable[str], program: tuple[str, elf.Elf]) -> None:
        """Closures of the ELF files that `-f` brought: plug-ins, and programs that this one starts."""
        path, parsed = program
        real = self._layout.add(path, "")
        for each in paths:
            extra = self._parsed(each)
            if extra is None or extra.abi != parsed.abi:
                continue
            if extra.interpreter:
                linker = self._linker(extra)
                self._add_closure(linker, linker.program(each, each, extra), [])
            elif parsed.interpreter:
                linker = self._linker(parsed)
                self._add_closure(linker, linker.program(path, real, parsed), [each])

    def _parsed(self, path: str) -> elf.Elf | None:
        status = self._image.lstat(path)
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        try:
            return elf.read(self._image.host(path))
        except elf.BadElf:
            # Data that only looks like ELF (an object file, a core dump) travels as it is.
            return None

    def _linker(self, parsed: elf.Elf) -> Linker:
        key = parsed.interpreter, parsed.abi
        if key not in self._linkers:
            self._linkers[key] = Linker(self._image, self._surroundings, *key, self._library_path)
        return self._linkers[key]

    def _add_code(self, path: str, reason: str) -> str:
        real = self._layout.add(path, reason)
        self._code_dirs.add(real.rpartition("/")[0])
        self._code_dirs.add((self._image.parent(path) or path).rpartition("/")[0])
        return real

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
        """Real paths, and links to them, of the parts of glibc in this bundle."""
        if not any(each.elf.soname == "libc.so.6" for each in self._objects.values()):
            return []
        return sorted(path for path in self._layout.paths() if glibc.is_part(path))


def started_by(image: Image, surroundings: Surroundings, program: str) -> Started:
    """Follow `#!` lines, and env, from a program to the ELF programs behind it."""
    scripts: list[str] = []
    programs: list[tuple[str, elf.Elf]] = []
    path = program
    while True:
        walk = image.walk(path)
        if walk is None or not stat.S_ISREG(walk.status.st_mode):
            raise BundleError(f"{image.shown(path)}: the interpreter of {scripts[-1]} is not there")
        try:
            parsed = elf.read(image.host(walk.real))
            with open(image.host(walk.real), "rb", buffering=0) as file:
                head = file.read(script.LINE_BYTES)
        except PermissionError as error:
            raise BundleError(f"{image.shown(path)}: cannot be packed: you may not read it") from error
        if parsed is not None:
            programs.append((path, parsed))
            return Started(tuple(scripts), tuple(programs))
        line = script.shebang(head, image.shown(path))
        if line is None:
            raise ProgramNotExecutable(f"{image.shown(path)}: is neither an ELF program nor a script with a #! line")
        if len(scripts) == script.DEPTH_MAX:
            raise BundleError(f"{image.shown(program)}: more than {script.DEPTH_MAX} interpreters of interpreters")
        scripts.append(path)
        path = surroundings.absolute(line.interpreter)
        if script.is_env(line.interpreter) and (env := _parsed_program(image, path)) is not None:
            programs.append((path, env))
            command = script.env_command(line.argument, image.shown(scripts[-1]), surroundings.variable)
            where = command.path if command.path is not None else surroundings.variable("PATH")
            path = which.find(image, command.program, where or which.DEFAULT_PATH, surroundings.absolute)


def _parsed_program(image: Image, path: str) -> elf.Elf | None:
    walk = image.walk(path)
    return None if walk is None else elf.read(image.host(walk.real))


def _refuse_set_id(image: Image, program: str, superuser: bool) -> None:
    walk = image.walk(program)
    if walk is None or superuser or not walk.status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return
    kind = "set-user-id" if walk.status.st_mode & stat.S_ISUID else "set-group-id"
    raise BundleError(
        f"{image.shown(walk.real)}: is {kind}; it would run on the nodes without that right, and so not as here."
        " -localbin runs the node's own"
    )


def _reason(each: Object, loader: str, modules: Sequence[str]) -> str:
    if each.path == loader:
        return "dynamic linker"
    by = each.loaded_by.path if each.loaded_by is not None else "nobody"
    return f"loaded by name by {by}" if each.path in modules else f"needed by {by}"


def _outermost(directories: set[str]) -> Iterator[str]:
    """Those that lie in no other; "/" is none."""
    last = ""
    for directory in sorted(each for each in directories if each):
        if not last or not directory.startswith(f"{last}/"):
            last = directory
            yield directory
