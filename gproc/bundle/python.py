"""Python: its standard library, a virtual environment's packages, and what a script imports.

Source: Python's getpath ("sys.path initialization"): pyvenv.cfg beside the interpreter or above it, then
lib/pythonX.Y/os.py below the prefix; PEP 405 for virtual environments.
"""

from __future__ import annotations

import os
import re
from typing import Final

from gproc.bundle import imports
from gproc.bundle.closure import Object
from gproc.bundle.home import Home, Installation
from gproc.bundle.image import Image, Walk
from gproc.bundle.surroundings import Surroundings

NAME: Final = re.compile(r"python(?:(\d+\.\d+)t?d?|\d*)")
_LIBRARY: Final = re.compile(r"python\d+\.\d+t?")
_STANDARD_OMITTED: Final = re.compile(
    r"/python\d+\.\d+t?/(test|idlelib|turtledemo|ensurepip|lib2to3|config-[^/]*|site-packages|dist-packages"
    r"|[^/]*/tests?|[^/]*/idle_test)$"
)
"""Parts of the standard library that serve its developers; installed packages, which are taken one by one."""
_VENV_OMITTED: Final = re.compile(r"/(pip|pip-[^/]*\.dist-info|setuptools|setuptools-[^/]*\.dist-info)$")
_CONFIG_MAX_BYTES: Final = 1 << 16


def home_of(image: Image, surroundings: Surroundings, program: Object, script: str) -> Home | None:
    """The library of this interpreter and, where it runs a script, that script's imports.

    script: "" for the interpreter alone.  None where no standard library is found: it would not start here either.
    """
    files: list[str] = []
    trees: list[Installation] = []
    base = os.path.dirname(program.real)
    venv = _virtual_environment(image, program.path)
    if venv is not None:
        root, home = venv
        base = home or base
        files.append(f"{root}/pyvenv.cfg")
        libraries = (name for name in image.names(f"{root}/lib") if _LIBRARY.fullmatch(name))
        trees += [Installation(f"{root}/lib/{name}", _VENV_OMITTED) for name in libraries]
    prefix = (surroundings.variable("PYTHONHOME") or os.path.dirname(base)).partition(":")[0]
    standard = _standard_library(image, os.path.basename(program.real), prefix)
    if standard is None:
        return None
    trees.append(Installation(standard, _STANDARD_OMITTED))
    archive = f"{os.path.dirname(standard)}/{os.path.basename(standard).replace('.', '')}.zip"
    files += [archive] if image.walk(archive) is not None else []
    walk = image.walk(script) if script else None
    if walk is not None:
        sites = () if venv is not None else _site_directories(os.path.basename(standard), standard)
        found = _imported(image, surroundings, walk, sites, standard)
        trees += [Installation(path, imports.OMITTED) for path in found.trees]
        files += found.files
    return Home(tuple(trees), tuple(files))


def _imported(
    image: Image, surroundings: Surroundings, script: Walk, sites: tuple[str, ...], standard: str
) -> imports.Imported:
    given = (surroundings.variable("PYTHONPATH") or "").split(":")
    # sys.path[0] is the directory of the script's real path.
    beside = [os.path.dirname(script.real), *(surroundings.absolute(each) for each in given if each)]
    return imports.imported_by(image, script.real, beside, sites, standard)


def _site_directories(version: str, standard: str) -> tuple[str, ...]:
    """site-packages, and the three places of Debian's (site.getsitepackages there)."""
    return (
        f"{standard}/site-packages",
        f"/usr/local/lib/{version}/dist-packages",
        f"{os.path.dirname(standard)}/python3/dist-packages",
        f"{standard}/dist-packages",
    )


def _virtual_environment(image: Image, path: str) -> tuple[str, str] | None:
    """The root and `home` of the virtual environment that an interpreter's path, or a link on its way, lies in."""
    walk = image.walk(path)
    for candidate in (path, *(link.path for link in walk.links)) if walk is not None else ():
        root = os.path.dirname(os.path.dirname(candidate))
        text = image.content(f"{root}/pyvenv.cfg", _CONFIG_MAX_BYTES)
        if text is not None:
            pairs = (line.partition("=") for line in os.fsdecode(text).splitlines())
            settings = {key.strip().lower(): value.strip() for key, _, value in pairs}
            home = settings.get("home", "")
            base = image.walk(home) if home.startswith("/") else None
            return root, base.real if base is not None else ""
    return None


def _standard_library(image: Image, name: str, prefix: str) -> str | None:
    match = NAME.fullmatch(name)
    for directory in (f"{prefix}/lib", f"{prefix}/lib64"):
        names = [f"python{match[1]}"] if match and match[1] else sorted(image.names(directory), reverse=True)
        for each in names:
            if _LIBRARY.fullmatch(each) and image.search(f"{directory}/{each}", "os.py") is not None:
                return f"{directory}/{each}"
    return None
