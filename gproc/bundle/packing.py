"""A program packed from scratch: its interpreters, their closures, what they load by name, and extras.

`gproc.packager` imports this module only if its cache has no answer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec

from gproc.bundle import code_dirs, companions, extras, locale_files, set_id, starting, which
from gproc.bundle.distribution import own_data, packages
from gproc.bundle.entries import BundleEntries
from gproc.bundle.home import Home, is_shared_object
from gproc.bundle.image import Image
from gproc.bundle.languages import language, python
from gproc.bundle.linking import elf, glibc, library_dirs
from gproc.bundle.linking.closure import Object
from gproc.bundle.meaning import Meant, Ran
from gproc.bundle.objects import Objects
from gproc.bundle.surroundings import Surroundings
from gproc.bundle.texts import literals
from gproc.bundle.texts.around import Around
from gproc.bundle.texts.beside import is_of_distribution
from gproc.bundle.texts.mentioned import Mentioned, can_go, is_left_out
from gproc.bundle.tracing.observed import Observed
from gproc.content.manifest import DIRECTORIES_MAX, Digest, Manifest
from gproc.content.paths import within
from gproc.errors import BundleError, GprocError

_NOTHING: Final = Observed()

_RUN_MAX: Final = 500
"""Programs that scripts run, and those that these run."""

_RUN_BYTES_MAX: Final = 50 << 20
"""A larger program that a script's text names is not taken: most scripts name what they run only sometimes."""


class Packed(msgspec.Struct, frozen=True):
    """A fresh bundle.

    sources: the path that each file is read from.  reasons: why each file and link is there.  made: chunks that are
    not read again.  held: chunks that need not be read again.  taken: directories that go along whole.
    """

    manifest: Manifest
    sources: dict[bytes, bytes]
    reasons: dict[bytes, str]
    made: dict[Digest, bytes]
    held: dict[Digest, bytes]
    taken: tuple[bytes, ...] = ()


def pack(
    image: Image,
    surroundings: Surroundings,
    program: str,
    meant: Meant,
    extra: Sequence[str],
    library_path: Sequence[str],
    superuser: bool,
    with_package: bool = False,
    seen: Observed = _NOTHING,
) -> Packed:
    """The bundle of a program in an image.

    program: absolute path, executable.  meant: what else its command's words mean; its own program comes first there.
    with_package: add what the packages of the programs install, and what those depend on.
    seen: what observed runs of the program touched; what is not there any more is left out.
    superuser: may pack a set-id program, which the bundle has without that bit.
    Raises: BundleError and its subclasses, which name the file.
    """
    set_id.refuse(image, program, superuser)
    layout = BundleEntries(image)
    shown = [extras.add(image, layout, item, surroundings.absolute) for item in extra]
    shown += [layout.add(path, "a word of the command") for path in meant.files]
    packing = _Packing(image, surroundings, layout, library_path, meant)
    for path in shown:
        packing.show(path)
    packing.guess(extras.named_by(Mentioned(image, surroundings), meant.files))
    return packing.run(program, meant, with_package, seen)


class _Packing:
    """One bundle in the making."""

    def __init__(
        self, image: Image, surroundings: Surroundings, layout: BundleEntries, library_path: Sequence[str], meant: Meant
    ) -> None:
        self._image = image
        self._surroundings = surroundings
        self._layout = layout
        self._words = meant.files
        self._code_dirs: set[str] = set()
        self._objects = Objects(image, surroundings, library_path, self._add_code)
        self._glibc_directories: set[str] = set()
        self._extras = frozenset(layout.paths())
        self._fixed: set[str] = set()
        self._run: set[tuple[str | None, str, str]] = set()
        self._lent: dict[str, None] = {}
        self._yielding: set[str] = set()
        self._own = set(self._extras)
        self._with_data: set[str] = set()
        self._which = partial(which.found, image, surroundings)
        self._around = Around(image, surroundings, meant)

    def show(self, real: str) -> None:
        """A file or directory that was added is to be at its own path on the node too."""
        status = self._image.lstat(real)
        is_directory = status is not None and stat.S_ISDIR(status.st_mode)
        self._code_dirs.add(real if is_directory else real.rpartition("/")[0])

    def guess(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """Add files that a text may mean, as far as they can go.  reasons: by path.  Returns their real paths."""
        can = {path: why for path, why in reasons.items() if can_go(self._image, path)}
        found = {path: self._layout.add(path, why, guessed=True) for path, why in can.items()}
        for real in found.values():
            self.show(real)
        return found

    def run(self, program: str, meant: Meant, with_package: bool, seen: Observed) -> Packed:
        own, *others = meant.programs
        self._surroundings.tell(meant.told)
        self._fixed.update(walk.real for path in meant.whole if (walk := self._image.glance(path)) is not None)
        started = self._start(program, own, program)
        run = [(path, other) for other in others if (path := self._which(other.name)) is not None]
        for path, other in run:
            with self._surroundings.of_child():
                self._start(path, other, program)
        if with_package:
            self._add_package(program, started, [path for path, _ in run] + [path for path, _, _ in self._run if path])
        self._add_seen(program, started, seen)
        around = frozenset(self._add_around()) - self._extras
        self._objects.add_among(sorted(self._extras), started.programs[0])
        self._objects.add_among_guesses(sorted(around), started.programs[0])
        yielding = self._add_yielding((*meant.yielding, *self._lent))
        objects = self._objects.found
        searched = library_dirs.directories(self._image, self._layout.paths(), objects, self._objects.loaders())
        entries, sources = self._layout.entries()
        manifest = Manifest(
            program=os.fsencode(self._image.parent(program) or program),
            loader=os.fsencode(started.programs[0][1].interpreter),
            library_dirs=tuple(map(os.fsencode, searched)),
            code_dirs=tuple(map(os.fsencode, code_dirs.outermost(self._code_dirs))),
            glibc=tuple(map(os.fsencode, glibc.paths(self._image, objects, self._layout.paths(), self._extras))),
            glibc_version=glibc.version(self._image, objects.values()),
            entries=entries,
            configured_dirs=tuple(map(os.fsencode, self._objects.configured_dirs)),
            fixed=tuple(map(os.fsencode, code_dirs.outermost(self._fixed | self._objects.preloaded))),
            yielding=tuple(map(os.fsencode, yielding)),
        )
        layout, taken = self._layout, tuple(map(os.fsencode, self._around.taken))
        return Packed(manifest, sources, layout.encoded_reasons(), layout.made, layout.held, taken)

    def _start(self, program: str, ran: Ran, main: str) -> starting.Started:
        """Add a program, with the scripts and interpreters that start it."""
        started = starting.started_by(self._image, self._surroundings, program)
        self._around.note((program, *started.scripts, ran.script))
        why = "the program" if program == main else f"run by {main}"
        for path in started.scripts:
            real = self._add_code(path, why if path == program else f"run by {started.scripts[0]}")
            self._add_own_data(path, real, [])
        for path, parsed in started.programs:
            last = started.scripts[-1] if started.scripts else ""
            script = last or ran.script
            if script and not last:
                self.show(self._layout.add(script, f"run by {path}"))
            runs = Ran(path, script, ran.code, ran.directories)
            self._add_program(path, parsed, why if path == program else f"runs {last}", runs)
        return started

    def _add_run(self, programs: Sequence[Ran], by: str) -> None:
        """Add the programs that an interpreter or its script runs; one that is not here may be on the node."""
        for ran in programs:
            path = self._which(ran.name) if "\0" not in ran.name else None
            key = path, ran.script, ran.code
            walk = self._image.walk(path) if path is not None and key not in self._run else None
            if path is None or walk is None or walk.status.st_size > _RUN_BYTES_MAX or not can_go(self._image, path):
                continue
            if len(self._run) == _RUN_MAX:
                return
            self._run.add(key)
            if ran.script and not self._image.is_readable(ran.script):
                continue
            with self._surroundings.of_child(), suppress(GprocError, OSError):  # this machine cannot run it either
                self._start(path, ran, by)

    def _add_package(self, program: str, started: starting.Started, others: Sequence[str]) -> None:
        """Add what the program's package installs and depends on, and the libraries of the programs in it."""
        before = set(self._layout.paths())
        for path in packages.files_of(self._image, program, others):
            self._fixed.add(os.path.dirname(self._add_code(path, f"of the package of {program}")))
        self._objects.add_among(sorted(set(self._layout.paths()) - before), started.programs[0])

    def _add_seen(self, program: str, started: starting.Started, seen: Observed) -> None:
        """Add what observed runs touched: programs with all that they need, the rest at its own path."""
        before = set(self._layout.paths())
        for path in map(os.fsdecode, seen.executed):
            if self._image.walk(path) is None or path == program:
                continue
            try:
                self._start(path, Ran(path), program)
            except GprocError:  # it has changed since it was observed; a run that needs it will say so
                continue
        for path in map(os.fsdecode, (*seen.files, *seen.directories)):
            if not self._image.is_readable(path):
                continue
            real = self._add_code(path, f"touched by {program} when it was traced")
            if not is_shared_object(real) and not within(real, self._surroundings.absolute("")):
                self._fixed.add(real)
        self._objects.add_among(sorted(set(self._layout.paths()) - before), started.programs[0])

    def _add_around(self) -> list[str]:
        around = {each.path: each for each in self._around.files()}
        found = self.guess({path: f"lies around {each.program}" for path, each in around.items()})
        for path, real in found.items():
            (self._yielding if around[path].gives_way else self._own).add(real)
        for path in filter(self._image.is_directory, self._around.empty):
            self._layout.add(path, "an empty directory around the program", guessed=True)
        return list(found.values())

    def _add_yielding(self, paths: Sequence[str]) -> list[str]:
        """Add what a node may have itself, and links to it, as far as it lies in no directory that is shown as here."""
        for path in paths:
            walk = self._image.walk(path)
            if walk is not None and not any(within(walk.real, each) for each in self._code_dirs if each):
                self._yielding.add(self._layout.add(path, "what a node lends, if it has no such file"))
                self._yielding.update(link.path for link in walk.links if link.path.count("/") > 1)
        # All programs count: what one of them names by its whole path may be a part of another one.
        return sorted(self._yielding - self._own)[:DIRECTORIES_MAX]

    def _add_program(self, path: str, parsed: elf.Elf, reason: str, runs: Ran) -> None:
        """Add a program, its closure, and what its language and its C library load by name."""
        linker = self._objects.linker(parsed)
        real = self._add_code(path, reason)
        program = linker.program(path, real, parsed)
        closure = self._objects.add_closure(linker, program, [])
        home = language.home_of(self._image, self._surroundings, program, closure, runs, self._words)
        run, told = (home.programs, home.told) if home is not None else ((), ())
        self._surroundings.tell(told)
        self._around.note_text(runs.code, home.beside if home is not None else ())
        modules = self._add_home(home, f"library of {path}") if home is not None else []
        if (python_in_it := python.embedded(self._image, program, closure)) is not None:
            modules += self._add_home(python_in_it, f"library of Python, in {path}")
        if home is None:
            modules += self._add_own_data(path, real, closure)
            said = literals.literals_of(self._image, program)
            mentioned = Mentioned(self._image, self._surroundings, [os.path.dirname(program.real)])
            files = self.guess(extras.of_program(mentioned, program, said))
            modules += filter(is_shared_object, files)
            self._add_programs_among([*files])
            opened = literals.libraries_in(linker, program, said)
            modules += [self._add_code(named, f"opened by {path}") for named in opened]
            self._lent |= dict.fromkeys(locale_files.files_of(self._image, said.locales))
            self._fixed.update([real] if said.needs_its_place else [])
            run = tuple(literals.programs_in(self._image, self._surroundings, said))
        for companion in companions.companions_of(self._image, self._surroundings, closure):
            real = self._add_code(companion, f"opened by a library of {path}")
            modules += [real] if is_shared_object(real) else []
        libc = next((each for each in closure if each.elf.soname == "libc.so.6"), None)
        if libc is not None:
            directory = os.path.dirname(self._image.parent(libc.path) or libc.path)
            if directory not in self._glibc_directories:  # if it is newer, the node's programs take theirs too
                self._glibc_directories.add(directory)
                for part in glibc.parts(self._image, directory):
                    self._add_code(part, "part of glibc, valid only as a set")
            if home is not None and self._image.is_directory(glibc.UTF8_LOCALE):
                self._code_dirs.add(self._layout.add_tree(glibc.UTF8_LOCALE, "C.UTF-8, for an interpreter"))
            self._lent |= dict.fromkeys(locale_files.zone(self._surroundings))
            if glibc.is_localised(self._image, program):
                self._lent |= dict.fromkeys(locale_files.files(self._image, self._surroundings))
            if glibc.uses_names(self._image, closure):
                modules += glibc.name_modules(self._image, libc.path)
            if glibc.converts(self._image, program):
                converters, tables = glibc.conversion_files(self._image, f"{directory}/libc.so.6")
                modules += converters
                for table in tables:
                    self._layout.add(table, "gconv: converts character sets")
        if modules:
            closure = self._objects.add_modules(linker, program, modules)
        self._lent |= dict.fromkeys(companions.lent_by(self._image, closure))
        self._add_run(run, runs.script or path)

    def _add_own_data(self, path: str, real: str, closure: Sequence[Object]) -> list[str]:
        """Add the data of a program, or a script, of the distribution, with the programs in it.

        It may do without, so a plain node, which has it elsewhere, runs the program nonetheless.
        Returns the shared objects among it.
        """
        known = language.launched(self._image, self._surroundings, path, real) is not None
        if known or real in self._with_data or not is_of_distribution(real):
            return []
        self._with_data.add(real)
        data = own_data.of(self._image, path, real, closure)
        found = [self._layout.add(each, f"data of {path}", guessed=True) for each in data.files]
        self._lent |= dict.fromkeys(data.settings)
        self._own.update(found)
        self._code_dirs.update(each.rpartition("/")[0] for each in (*found, *data.files))
        for each in data.files:
            self._add_links_of(each)
        self._add_programs_among(found)
        self._add_run([Ran(each) for each in found if own_data.is_script(self._image, each)], path)
        return sorted(filter(is_shared_object, found))

    def _add_home(self, home: Home, reason: str) -> list[str]:
        """Add an interpreter's library.  Returns the extension modules in it."""
        real = [self._add_code(path, reason) for path in home.files]
        self._lent |= dict.fromkeys(home.lent)
        roots = []
        for tree in home.trees:
            omit = partial(is_left_out, self._image, tree.omits)
            roots.append(self._layout.add_tree(tree.path, reason, omit) + "/")
            self._code_dirs.add(roots[-1].rstrip("/"))
            self._add_links_of(tree.path)
        beside = self.guess(dict.fromkeys(home.beside, f"named by the script ({reason})"))
        for path, found in beside.items():
            (self._yielding if path in home.yielding else self._own).add(found)
            self._fixed.update([found] if path in home.whole else [])
        self._fixed.update(real)
        self._fixed.update(root.rstrip("/") for root in roots)
        mine = [path for path in self._layout.paths() if path.startswith(tuple(roots) or ("//",))]
        self._add_programs_among([*mine, *beside])
        return sorted(path for path in (*mine, *real, *beside) if is_shared_object(path))

    def _add_programs_among(self, paths: Sequence[str]) -> None:
        """Add the closures of programs that lie in an interpreter's library, or that a text names, and may never run.

        So one for another system, as packages bring them along for several, stops nothing.
        """
        for path in paths:
            status = self._image.lstat(path)
            if status is None or not status.st_mode & 0o111 or is_shared_object(path):
                continue
            parsed = self._objects.parsed(path)
            if parsed is not None and parsed.interpreter:
                with suppress(BundleError):
                    self._objects.add_program(path, parsed)

    def _add_code(self, path: str, reason: str) -> str:
        real = self._layout.add(path, reason)
        self._own.add(real)
        self._code_dirs.add(real.rpartition("/")[0])
        self._code_dirs.add((self._image.parent(path) or path).rpartition("/")[0])
        self._add_links_of(path)
        return real

    def _add_links_of(self, path: str) -> None:
        """The directories of the links by which a path leads to its file: without them the file is not found."""
        walk = self._image.walk(path)
        for link in walk.links if walk is not None else ():
            self._code_dirs.add(link.path.rpartition("/")[0])
