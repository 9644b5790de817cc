"""The modules that a Python script imports, read from its text: those beside it, and packages installed here.

Nothing is executed, so an import by a computed name is not found, and -f must add the module.  In a script's own
modules, every import counts.  In an installed package, only imports at the left margin count: indented ones are mostly
optional, and could bring in half of what is installed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Sequence
from typing import Final

import msgspec

from gproc.bundle.image import Image

_IMPORT: Final = re.compile(
    rb"^([ \t]*)(?:from[ \t]+([A-Za-z_][\w.]*)[ \t]+import\b|import[ \t]+([A-Za-z_][\w., \t]*))", re.MULTILINE
)
_SOURCE_MAX_BYTES: Final = 4 << 20
"""The part of a source file that is read; the largest of Python's own has 300 KB."""
_SOURCES_MAX: Final = 20_000
"""Source files read for one script; SciPy has 1,000."""

_OWN_MAX: Final = 200

_INSTEAD: Final = re.compile(
    rb"^except\b[^\n]*\b(?:ImportError|ModuleNotFoundError)\b[^\n]*:[^\n]*\n[ \t]+(?:import|from)[ \t]+([A-Za-z_]\w*)",
    re.MULTILINE,
)
"""What a package takes if it has no copy of its own: cffi pycparser, as distributions have it."""

_METADATA: Final = (".dist-info", ".egg-info")
_ENTRY_POINT: Final = re.compile(rb"load_entry_point\(\s*['\"]([\w.-]+)")
"""How scripts that setuptools made find their function: by the metadata of its distribution."""

_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_ENTRIES: Final = re.compile(r"=\s*([A-Za-z_]\w*)[\w.]*\s*(?::|$)", re.MULTILINE)
_TOP_LEVELS_MAX: Final = 20
"""Modules of one distribution; those with more are collections, of which none needs all."""

OMITTED: Final = re.compile(r"/(tests?|__pycache__)$")


class Imported(msgspec.Struct, frozen=True):
    """Directories to take with all their contents, and single files.

    own: the sources among them that are not installed, but the caller's.
    """

    trees: tuple[str, ...]
    files: tuple[str, ...]
    own: tuple[str, ...] = ()


class _Module(msgspec.Struct, frozen=True):
    """A module that was found.  installed: in a site directory, not beside the script."""

    path: str
    is_tree: bool
    installed: bool


def imported_by(
    image: Image, scripts: Sequence[str], code: str, beside: Sequence[str], sites: Sequence[str], standard: str
) -> Imported:
    """All modules that scripts import, directly or through others, except standard and built-in ones.

    scripts: their real paths.  code: a text that is run instead.
    beside: directories before the standard library on sys.path; sites: those after it.
    """
    found: dict[str, _Module] = {}
    names: set[str] = set()
    todo = [_Module(script, False, False) for script in scripts]
    own: list[str] = []
    read = 0
    for name in sorted(modules_in(os.fsencode(code).replace(b";", b"\n"), installed=False)):
        names.add(name)
        for each in _find(image, name, beside, sites, standard):
            found[each.path] = each
            todo.append(each)
    while todo:
        module = todo.pop()
        for source in _sources(image, module):
            read += 1
            if read > _SOURCES_MAX:
                break
            if not module.installed and source not in scripts and len(own) < _OWN_MAX:
                own.append(source)
            wanted = _names(image, source, module.installed)
            if source in scripts:
                wanted |= set(_of_entry_points(image, source, sites))
            for name in sorted(wanted - names):
                names.add(name)
                for each in _find(image, name, beside, sites, standard):
                    if each.path not in found:
                        found[each.path] = each
                        todo.append(each)
        if module.path.endswith(_METADATA):
            for name in sorted(set(_top_levels(image, module.path)) - names):
                names.add(name)
                for each in _first(image, name, [os.path.dirname(module.path)], installed=True):
                    if each.path not in found:
                        found[each.path] = each
                        todo.append(each)
    return Imported(
        tuple(path for path, module in found.items() if module.is_tree),
        tuple(path for path, module in found.items() if not module.is_tree),
        tuple(own),
    )


def _names(image: Image, source: str, installed: bool) -> set[str]:
    return modules_in(image.content(source, _SOURCE_MAX_BYTES) or b"", installed=installed)


def modules_in(text: bytes, *, installed: bool) -> set[str]:
    """The first parts of the names of modules that a source imports."""
    names = set()
    for indent, package, modules in _IMPORT.findall(text):
        if installed and indent:
            continue
        for module in [package] if package else modules.split(b","):
            words = module.split()
            if words:
                names.add(words[0].partition(b".")[0].decode("ascii", "replace"))
    if installed:
        names.update(match.decode("ascii", "replace") for match in _INSTEAD.findall(text))
    return names


def _sources(image: Image, module: _Module) -> Iterator[str]:
    if not module.is_tree:
        if not module.path.endswith(".so"):
            yield module.path
        return
    todo = [module.path]
    while todo:
        directory = todo.pop()
        for name in image.names(directory):
            path = f"{directory}/{name}"
            if name.endswith(".py"):
                yield path
            elif "." not in name and not OMITTED.search(path) and image.is_directory(path):
                todo.append(path)


def _find(image: Image, name: str, beside: Sequence[str], sites: Sequence[str], standard: str) -> Iterator[_Module]:
    if (yield from _first(image, name, beside, installed=False)):
        return
    if _in(image, standard, name, installed=True) or _in(image, f"{standard}/lib-dynload", name, installed=True):
        return
    yield from _first(image, name, sites, installed=True)


def _first(
    image: Image, name: str, directories: Sequence[str], *, installed: bool
) -> Generator[_Module, None, bool]:
    """The first module of a name, and all portions of a namespace before it.  Returns whether there is a whole one."""
    for directory in directories:
        module = _in(image, directory, name, installed=installed)
        if module is not None:
            yield module
            yield from _companions(image, directory, name)
            if not _is_portion(image, module):
                return True
    return False


def _is_portion(image: Image, module: _Module) -> bool:
    """Whether it is a directory of a namespace package (PEP 420), which has more in other directories."""
    return module.is_tree and "__init__.py" not in image.names(module.path)


def _in(image: Image, directory: str, name: str, *, installed: bool) -> _Module | None:
    """A package, else an extension module, else a source file: the order of Python's finder."""
    path = f"{directory}/{name}"
    inside = image.names(path) if image.is_directory(path) else []
    if "__init__.py" in inside:
        return _Module(path, True, installed)
    for each in image.names(directory):
        if each.startswith(f"{name}.") and (each.endswith(".so") or each == f"{name}.py"):
            return _Module(f"{directory}/{each}", False, installed)
    return _Module(path, True, installed) if any(each.endswith(".py") for each in inside) else None


def _companions(image: Image, directory: str, name: str) -> Iterator[_Module]:
    """What an installer puts beside a package: its metadata, and libraries that auditwheel added."""
    wanted = name.lower()
    for each in image.names(directory):
        known = each.lower().replace("_", "-").startswith(f"{wanted.replace('_', '-')}-")
        if each == f"{name}.libs" or (known and each.endswith(_METADATA)):
            path = f"{directory}/{each}"
            yield _Module(path, image.is_directory(path), True)


def _of_entry_points(image: Image, script: str, sites: Sequence[str]) -> Iterator[str]:
    """The modules in which the functions lie that a script loads by the name of their distribution."""
    for match in _ENTRY_POINT.finditer(image.content(script, _SOURCE_MAX_BYTES) or b""):
        wanted = re.sub(r"[-_.]+", "-", match[1].decode()).lower()
        for site in sites:
            for each in image.names(site):
                is_it = each.endswith(_METADATA) and re.sub(r"[-_.]+", "-", each).lower().startswith(f"{wanted}-")
                text = image.content(f"{site}/{each}/entry_points.txt", _SOURCE_MAX_BYTES) if is_it else None
                yield from dict.fromkeys(_ENTRIES.findall(os.fsdecode(text or b"")))


def _top_levels(image: Image, metadata: str) -> list[str]:
    """The modules of a distribution: cffi's are cffi and _cffi_backend, which it imports only in a function."""
    names = os.fsdecode(image.content(f"{metadata}/top_level.txt", _SOURCE_MAX_BYTES) or b"").split()
    return [name for name in names if _NAME.fullmatch(name)] if len(names) <= _TOP_LEVELS_MAX else []
