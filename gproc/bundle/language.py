"""What an interpreter needs beside itself: the library of Python and of Perl, bash's loadable builtins.

Found by their files, without running them.  Only the standard library and a virtual environment's own packages
are taken: what else a script imports from the machine goes along by -f.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from gproc.bundle.closure import Object
from gproc.bundle.image import Image
from gproc.bundle.surroundings import Surroundings

_PYTHON: Final = re.compile(r"python(\d+\.\d+)t?d?|python\d*")
_PYTHON_LIBRARY: Final = re.compile(r"python\d+\.\d+t?")
_PERL: Final = re.compile(r"perl(5[\d.]*)?")

_PYTHON_OMITTED: Final = re.compile(
    r"/python\d+\.\d+t?/(test|idlelib|turtledemo|ensurepip|lib2to3|config-[^/]*|site-packages|dist-packages"
    r"|[^/]*/tests?|[^/]*/idle_test)$"
)
"""Parts of the standard library that serve its developers; site packages, which -f brings by name."""
_VENV_OMITTED: Final = re.compile(r"/(pip|pip-[^/]*\.dist-info|setuptools|setuptools-[^/]*\.dist-info)$")
_PERL_OMITTED: Final = re.compile(r"\.pod$|/(pod|CORE)$|\.(h|a)$")

_PERL_DIRECTORY: Final = re.compile(rb"(?<=\0)/[A-Za-z0-9_.+/-]*perl[A-Za-z0-9_.+/-]*(?=\0)")
_PERL_MAX_BYTES: Final = 32 << 20
"""How much of perl, or its library, is searched for its directories; Debian's has 4 MB."""
_CONFIG_MAX_BYTES: Final = 1 << 16


def _nothing(_: str) -> bool:
    return False


class Home(msgspec.Struct, frozen=True):
    """An interpreter's library: directories with all that is in them, single files, what to omit, what is a module.

    is_module: whether a file is an extension module: an object that the interpreter opens by itself.
    """

    reason: str
    trees: tuple[str, ...]
    files: tuple[str, ...] = ()
    omits: Callable[[str], bool] = _nothing
    is_module: Callable[[str], bool] = _nothing


def home_of(image: Image, surroundings: Surroundings, program: Object, closure: Sequence[Object]) -> Home | None:
    """The library of an interpreter, or None where the program is none that is known here."""
    name = os.path.basename(program.real)
    if _PYTHON.fullmatch(name):
        return _python(image, surroundings, program)
    if _PERL.fullmatch(name):
        return _perl(image, program, closure)
    if name == "bash" and image.search("/usr/lib", "bash") is not None:
        return Home("bash's loadable builtins", ("/usr/lib/bash",), is_module=_is_in(("/usr/lib/bash/",)))
    return None


def _python(image: Image, surroundings: Surroundings, program: Object) -> Home | None:
    """Source: the getpath docs of Python, "sys.path initialization": pyvenv.cfg, then lib/pythonX.Y/os.py upwards."""
    trees: list[str] = []
    files: list[str] = []
    venv = _virtual_environment(image, program.path)
    base = os.path.dirname(program.real)
    if venv is not None:
        root, home = venv
        base = home or base
        files.append(f"{root}/pyvenv.cfg")
        trees += [f"{root}/lib/{name}" for name in image.names(f"{root}/lib") if _PYTHON_LIBRARY.fullmatch(name)]
    prefix = surroundings.variable("PYTHONHOME") or os.path.dirname(base)
    standard = _standard_library(image, os.path.basename(program.real), prefix.partition(":")[0])
    if standard is None:
        return None
    version = os.path.basename(standard)
    archive = f"{os.path.dirname(standard)}/{version.replace('.', '')}.zip"
    files += [archive] if image.walk(archive) is not None else []
    everything = (standard, *trees)
    roots = tuple(f"{image_path}/" for image_path in _real(image, everything))

    def omits(path: str) -> bool:
        if any(path.startswith(f"{tree}/") for tree in _real(image, trees)):
            return _VENV_OMITTED.search(path) is not None
        return _PYTHON_OMITTED.search(path) is not None

    is_module = _is_in(roots)
    return Home(f"library of {program.path}", everything, tuple(files), omits, is_module)


def _virtual_environment(image: Image, path: str) -> tuple[str, str] | None:
    """The root and `home` of the virtual environment that an interpreter's path, or a link on its way, lies in."""
    walk = image.walk(path)
    for candidate in (path, *(link.path for link in walk.links)) if walk is not None else ():
        root = os.path.dirname(os.path.dirname(candidate))
        text = image.content(f"{root}/pyvenv.cfg", _CONFIG_MAX_BYTES)
        if text is not None:
            pairs = (line.partition("=") for line in os.fsdecode(text).splitlines())
            settings = {key.strip().lower(): value.strip() for key, _, value in pairs}
            return root, _base_directory(image, settings.get("home", ""))
    return None


def _base_directory(image: Image, home: str) -> str:
    walk = image.walk(home) if home.startswith("/") else None
    return walk.real if walk is not None else ""


def _standard_library(image: Image, name: str, prefix: str) -> str | None:
    match = _PYTHON.fullmatch(name)
    for directory in (f"{prefix}/lib", f"{prefix}/lib64"):
        names = [f"python{match[1]}"] if match and match[1] else sorted(image.names(directory), reverse=True)
        for each in names:
            if _PYTHON_LIBRARY.fullmatch(each) and image.search(f"{directory}/{each}", "os.py") is not None:
                return f"{directory}/{each}"
    return None


def _perl(image: Image, program: Object, closure: Sequence[Object]) -> Home:
    """@INC is compiled into perl, or into its shared library: absolute paths that have "perl" in them."""
    library = next((each for each in closure if each.elf.soname.startswith("libperl.so")), program)
    content = image.content(library.real, _PERL_MAX_BYTES) or b""
    trees = []
    for found in dict.fromkeys(_PERL_DIRECTORY.findall(content)):
        path = os.fsdecode(found)
        walk = image.walk(path)
        core = "/local/" not in path and not path.startswith("/etc/")
        if core and walk is not None and path.rpartition("/")[2] != "perl" and image.names(path):
            trees.append(path)
    roots = tuple(f"{path}/" for path in _real(image, trees))

    def omits(path: str) -> bool:
        return _PERL_OMITTED.search(path) is not None

    return Home(f"library of {program.path}", tuple(trees), (), omits, _is_in(roots))


def _real(image: Image, paths: Sequence[str]) -> list[str]:
    return [walk.real for walk in map(image.walk, paths) if walk is not None]


def _is_in(roots: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda path: path.startswith(roots) and (path.endswith(".so") or ".so." in path)
