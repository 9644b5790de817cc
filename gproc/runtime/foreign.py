"""An installation of Python below a foreign root, as of another architecture, and its modules by their imports.

Nothing of it is executed, so what its interpreter has built in is not known: a module of the standard library without a
file is taken for built in.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from modulefinder import ModuleFinder
from typing import IO, Any, Final

import msgspec

from gproc.bundle.image import Image
from gproc.bundle.linking import elf
from gproc.errors import BundleError
from gproc.runtime.modules import LEFT_OUT, ROOTS, Module, found_by, modules_of_a_slave, own_directory

INTERPRETERS: Final = ("/usr/bin/python3", "/usr/local/bin/python3", "/bin/python3")

_DIRECTORIES: Final = (
    "usr/local/lib/python{}/site-packages", "usr/local/lib/python{}/dist-packages", "usr/lib/python{}",
    "usr/lib/python{}/lib-dynload", "usr/lib/python3/dist-packages", "usr/lib/python{}/site-packages",
    "usr/local/lib/python{}", "usr/local/lib/python{}/lib-dynload",
)  # fmt: skip

_MACHINES: Final = {62: "x86_64", 183: "aarch64"}
"""EM_X86_64 and EM_AARCH64 of elf(5), as uname(2) has them."""

_SOURCE, _EXTENSION, _PACKAGE, _BUILTIN = 1, 3, 5, 6
"""What `modulefinder` calls them."""


class PackedPython(msgspec.Struct, frozen=True):
    """What a runtime is made of.  root: of the paths; interpreter: below it.  machine: as uname(2) names it."""

    root: str
    interpreter: str
    machine: str
    python: str
    modules: tuple[Module, ...]


def own_installation() -> PackedPython:
    python = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    interpreter = os.path.realpath(sys.executable)
    return PackedPython("/", interpreter, os.uname().machine, python, tuple(modules_of_a_slave()))


def installation_below(root: str) -> PackedPython:
    """Raises: BundleError if there is no such Python, or it lacks something."""
    if not os.path.isdir(root):
        raise BundleError(f"{root}: {'is no directory' if os.path.lexists(root) else 'there is no such directory'}")
    image = Image(root)
    walks = (image.walk(path) for path in INTERPRETERS)
    interpreter = next((walk.real for walk in walks if walk is not None), None)
    if interpreter is None:
        raise BundleError(f"{root}: has no Python: {', '.join(INTERPRETERS)}")
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = re.search(r"python(3\.\d+)$", interpreter)
    if found is None or found[1] != own:
        has = f"Python {found[1]}" if found else interpreter
        raise BundleError(f"{root}: has {has}, and gproc here runs on {own}: both must be of one minor version")
    parsed = elf.read(image.host(interpreter), image.memo)
    machine = _MACHINES.get(parsed.abi.machine) if parsed is not None else None
    if machine is None:
        raise BundleError(f"{root}{interpreter}: is for none of the machines that gproc knows: {_MACHINES.values()}")
    directories = [os.path.join(os.path.realpath(root), each.format(own)) for each in _DIRECTORIES]
    finder = _Finder([each for each in directories if os.path.isdir(each)], machine)
    lacking = set()
    for name in ROOTS:
        try:
            finder.import_hook(name, None, ["*"])
        except ImportError:
            lacking.add(name.partition(".")[0])
    lacking |= _packages(modules_of_a_slave()) - {name.partition(".")[0] for name in finder.modules}
    if lacking:
        raise BundleError(_lacks(root, machine, sorted(lacking)))
    return PackedPython(root, interpreter, machine, own, tuple(found_by(finder)))


def _packages(modules: Iterable[Module]) -> set[str]:
    """The packages of others that a slave here needs."""
    names = {os.path.relpath(module.place, "lib-dynload") if "lib-dynload" in module.place else module.place
             for module in modules}  # fmt: skip
    tops = {name.partition("/")[0].partition(".")[0] for name in names}
    return {name for name in tops if name not in sys.stdlib_module_names and name != "gproc"}


def _lacks(root: str, machine: str, names: Sequence[str]) -> str:
    distributions = importlib.metadata.packages_distributions()
    wanted = sorted(
        {f"{each}=={importlib.metadata.version(each)}" for name in names for each in distributions.get(name, [])[:1]}
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = (
        f"pip install --no-deps --only-binary=:all: --python-version {version} --platform manylinux2014_{machine}"
        f" --target {root}/usr/local/lib/python{version}/dist-packages {' '.join(wanted)}"
    )
    return f"{root}: lacks {', '.join(names)} for its Python" + (f"; {command}" if wanted else "")


class _Finder(ModuleFinder):
    """path: directories of the foreign Python.  gproc itself comes from here."""

    def __init__(self, path: list[str], machine: str) -> None:
        super().__init__(path=path, excludes=LEFT_OUT)
        version = f"{sys.version_info.major}{sys.version_info.minor}"
        self._suffixes = (f".cpython-{version}-{machine}-linux-gnu.so", ".abi3.so", ".so")

    def find_module(
        self, name: str, path: Sequence[str] | None, parent: Any = None
    ) -> tuple[IO[bytes] | None, str | None, tuple[str, str, int]]:
        full = f"{parent.__name__}.{name}" if parent is not None else name
        if full in LEFT_OUT:
            raise ImportError(name)
        own = [os.path.dirname(own_directory())]
        for directory in path if path is not None else own if name == "gproc" else self.path:
            base = os.path.join(directory, name)
            if os.path.isfile(f"{base}/__init__.py"):
                return None, base, ("", "", _PACKAGE)
            if os.path.isfile(f"{base}.py"):
                return io.open_code(f"{base}.py"), f"{base}.py", (".py", "rb", _SOURCE)
            for suffix in self._suffixes:
                if os.path.isfile(base + suffix):
                    return None, base + suffix, (suffix, "rb", _EXTENSION)
        if path is None and name in sys.stdlib_module_names:
            return None, None, ("", "", _BUILTIN)
        raise ImportError(name)
