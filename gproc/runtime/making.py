"""The runtime of this installation: put together once, then kept in the user's cache until one of its files changes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import FrozenImporter
from pathlib import Path
from typing import Final

import msgspec

from gproc import native
from gproc.bundle.image import Image
from gproc.bundle.linking import elf
from gproc.bundle.linking.closure import Linker, Object
from gproc.bundle.surroundings import Surroundings
from gproc.errors import BundleError
from gproc.interpreter import LIBRARIES, LOADER, PYTHON
from gproc.native.build import NotBuilt, build
from gproc.runtime import importing
from gproc.runtime.archive import Content, archive_of
from gproc.runtime.compiling import COMPILER, compiled_modules, pyc
from gproc.runtime.foreign import PackedPython, installation_below, own_installation
from gproc.runtime.modulefile import module_file
from gproc.runtime.modules import own_directory
from gproc.runtime.slim import slim

FORMAT: Final = 3
"""Rises when what this module makes of the same files changes."""

_IMPORTING: Final = importing.__file__

_FIRST: Final = "encodings"
"""The first module that Python imports from a file."""

_FILES: Final = ("gproc/policy/account", "os")
"""Modules that have a file too: one is executed by its path, by the other Python finds where it is."""

_HELPER: Final = "gproc/native/gproc-helper"


class Stamp(msgspec.Struct, frozen=True):
    """A file that a runtime was made from."""

    path: str
    size_bytes: int
    mtime_ns: int


class Runtime(msgspec.Struct, frozen=True):
    """digest: SHA-256 of the archive, in hexadecimal.  machine: as uname(2) names it.  helper: the static helper."""

    digest: str
    machine: str
    python: str
    files: int
    unpacked_bytes: int
    archive: bytes
    helper: bytes


class _Record(msgspec.Struct, frozen=True):
    made_from: tuple[Stamp, ...]
    runtime: Runtime


def runtime_of_this_machine(
    environ: Mapping[str, str], *, afresh: bool = False, making: Callable[[], None] = lambda: None
) -> Runtime:
    """The runtime of this installation, from the cache if no file of it has changed.

    making: called before one is made, which takes several seconds of CPU.
    Raises: BundleError if there is no static helper, or a library is missing.
    """
    if reason := native.why_missing():
        raise BundleError(f"a runtime needs gproc's static helper: {reason}; install gproc where a C compiler is")
    place = os.path.join(_cache_directory(environ), "runtime")
    if not afresh and (kept := _kept(place)) is not None:
        return kept
    making()
    record = _made(own_installation(), os.fsdecode(native.HELPER))
    with contextlib.suppress(OSError):  # without a cache it is made each time
        _keep(place, record)
    return record.runtime


def runtime_of_root(environ: Mapping[str, str], root: str) -> Runtime:
    """Pack the Python below a foreign root with this gproc; it is kept for `runtime_for` if it is for another machine.

    Raises: BundleError.
    """
    of = installation_below(root)
    with tempfile.TemporaryDirectory() as made:
        helper = os.path.join(made, "gproc-helper")
        try:
            build(Path(helper), target=of.machine)
        except NotBuilt as error:
            raise BundleError(f"the static helper for {of.machine} cannot be compiled: {error}") from error
        record = _made(of, helper)
    if of.machine != os.uname().machine:
        keep_for(environ, record.runtime, record.made_from[1:])
    return record.runtime


def keep_for(environ: Mapping[str, str], runtime: Runtime, made_from: Iterable[Stamp]) -> None:
    """Until a file of gproc itself changes; the root may go."""
    own = tuple(each for each in made_from if each.path.startswith(own_directory()))
    _keep(_place_for(environ, runtime.machine), _Record((_identity(), *own), runtime))


def runtime_for(environ: Mapping[str, str], machine: str) -> Runtime | None:
    """The runtime that was packed for another machine; None if none was, or for another gproc."""
    return _kept(_place_for(environ, machine))


def _place_for(environ: Mapping[str, str], machine: str) -> str:
    return os.path.join(_cache_directory(environ), f"runtime-{machine}")


def _cache_directory(environ: Mapping[str, str]) -> str:
    from gproc.bundle.cache import default_directory

    return os.path.dirname(default_directory(environ))


def _kept(place: str) -> Runtime | None:
    """What `_keep` has written there.  None if it is not whole, or a file that it was made from has changed."""
    try:
        status = os.stat(place)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            return None
        with open(place, "rb") as file:
            digest, content = file.read(hashlib.sha256().digest_size), file.read()
        if hashlib.sha256(content).digest() != digest:
            return None
        record = msgspec.msgpack.decode(content, type=_Record)
    except (OSError, msgspec.MsgspecError):
        return None
    wanted = _identity()
    if not record.made_from or record.made_from[0] != wanted:
        return None
    return record.runtime if all(_stamp(each.path) == each for each in record.made_from[1:]) else None


def _keep(place: str, record: _Record) -> None:
    os.makedirs(os.path.dirname(place), 0o700, exist_ok=True)
    beside = f"{place}.{os.getpid()}"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        content = msgspec.msgpack.encode(record)
        file.write(hashlib.sha256(content).digest() + content)
    os.replace(beside, place)


def _identity() -> Stamp:
    """What no file's stamp says: which installation it is, of which Python."""
    return Stamp(f"{own_directory()} {sys.version} {sys.prefix}", FORMAT, 0)


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Stamp(path, status.st_size, status.st_mtime_ns)


def _made(of: PackedPython, helper: str) -> _Record:
    """helper: the static helper for that machine."""
    image = Image(of.root)
    interpreter = image.host(of.interpreter)
    sources = {PYTHON: interpreter}
    home = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    extensions = {module.place: module.source for module in of.modules if module.is_extension}
    sources |= {f"{home}/{place}": source for place, source in extensions.items()}
    texts = {module.place: module.source for module in of.modules if not module.is_extension}
    sources[f"{home}/{_HELPER}"] = helper
    sources |= _libraries(image, of)
    # Read after their stamps were taken: a file that changes meanwhile makes the record stale, not wrong.
    made_from = (_identity(), *_stamps([*sources.values(), *texts.values(), _IMPORTING, COMPILER]))
    files = {place: Content(_read(source), executable=True) for place, source in sources.items()}
    files |= _code(home, texts, extensions)
    archive = archive_of(files)
    runtime = Runtime(
        digest=hashlib.sha256(archive).hexdigest(),
        machine=of.machine,
        python=of.python,
        files=len(files),
        unpacked_bytes=sum(len(file.data) for file in files.values()),
        archive=archive,
        helper=files[f"{home}/{_HELPER}"].data,
    )
    return _Record(made_from, runtime)


def _code(home: str, texts: Mapping[str, str], extensions: Iterable[str]) -> dict[str, Content]:
    """The files with the code of modules.  In tracebacks each module has the name that it would have as a file."""
    own = f"{home}/gproc/runtime/importing"
    compiled = compiled_modules({own: _IMPORTING} | {f"{home}/{place}": source for place, source in texts.items()})
    first = compiled.pop(own)
    if FrozenImporter.find_spec(_FIRST) is not None:  # then that Python reads none of our files before all others
        return {f"{place}.pyc": Content(pyc(code)) for place, code in compiled.items()}
    codes = {place.removeprefix(f"{home}/"): code for place, code in compiled.items()}
    files = {f"{home}/{place}.pyc": Content(pyc(codes[place])) for place in _FILES}
    files[f"{home}/{_FIRST}/__init__.pyc"] = Content(pyc(first))
    files[f"{home}/{importing.FILE}"] = Content(module_file(codes, extensions))
    return files


def _stamps(paths: Iterable[str]) -> Iterator[Stamp]:
    for path in paths:
        stamp = _stamp(path)
        if stamp is not None:
            yield stamp


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return slim(file.read())
    except OSError as error:
        raise BundleError(f"{path}: cannot be packed: {error.strerror}") from error


def _libraries(image: Image, of: PackedPython) -> dict[str, str]:
    """Every shared library of the interpreter and of its extension modules, and their dynamic linker, by place."""
    parsed = elf.read(image.host(of.interpreter), image.memo)
    if parsed is None or not parsed.interpreter:
        raise BundleError(f"{of.interpreter}: is no program with a dynamic linker, so there is no runtime of it")
    linker = Linker(image, Surroundings({}, "/"), parsed.interpreter, parsed.abi)
    program = linker.program(of.interpreter, of.interpreter, parsed)
    roots = []
    for path in (_inside(of.root, module.source) for module in of.modules if module.is_extension):
        if (found := elf.read(image.host(path), image.memo)) is not None:
            roots.append(Object(path, path, path, found, program))
    mine = {each.real for each in roots} | {of.interpreter}
    loader = image.walk(parsed.interpreter)
    if loader is None:
        raise BundleError(f"{image.shown(parsed.interpreter)}: the dynamic linker of its Python is not there")
    libraries = {LOADER: image.host(loader.real)}
    for each in linker.closure(program, roots):
        # Builds for certain processors are left out: the plain one runs on all.
        if each.real not in mine and "/glibc-hwcaps/" not in each.path and each.path != parsed.interpreter:
            libraries.setdefault(f"{LIBRARIES}/{os.path.basename(each.name)}", image.host(each.real))
    return libraries


def _inside(root: str, path: str) -> str:
    """A real path as it is below the root."""
    real, top = os.path.realpath(path), os.path.realpath(root)
    return real if top == "/" else real.removeprefix(top)
