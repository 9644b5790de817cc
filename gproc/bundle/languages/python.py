"""Python: its standard library, a virtual environment's packages, and the modules that a script imports.

Source: Python's getpath ("sys.path initialization"): pyvenv.cfg beside the interpreter or above it, then
lib/pythonX.Y/os.py below the prefix; PEP 405 for virtual environments.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from gproc.bundle.home import Home, Installation
from gproc.bundle.image import Image
from gproc.bundle.languages import imports, pth
from gproc.bundle.linking.closure import Object
from gproc.bundle.surroundings import Surroundings

NAME: Final = re.compile(r"python(?:(\d+\.\d+)t?d?|\d*)")
_LIBRARY: Final = re.compile(r"python\d+\.\d+t?")
_STANDARD_OMITTED: Final = re.compile(
    r"/python\d+\.\d+t?/(test|idlelib|turtledemo|ensurepip|lib2to3|config-[^/]*|site-packages|dist-packages"
    r"|[^/]*/tests?|[^/]*/idle_test)$"
)
"""Parts of the standard library that only its developers use, and installed packages, which are taken one by one."""
_VENV_OMITTED: Final = re.compile(r"/(pip|pip-[^/]*\.dist-info|setuptools|setuptools-[^/]*\.dist-info)$")
_OF_ZONES: Final = tuple(
    f"/usr/share/zoneinfo/{name}"
    for name in ("tzdata.zi", "zone1970.tab", "zone.tab", "iso3166.tab", "UTC")
)
"""What Debian's pytz, which pandas imports, reads when it is imported, in place of files of its own."""

_EMBEDDED: Final = re.compile(r"libpython(\d+\.\d+)")
_CONFIG_MAX_BYTES: Final = 1 << 16


class _VirtualEnvironment(NamedTuple):
    """base: the directory of the interpreter that it was made with; "" if that is not known.

    system: whether it sees that interpreter's packages too.
    """

    root: str
    base: str
    system: bool

    def libraries(self, image: Image) -> list[str]:
        names = (name for name in image.names(f"{self.root}/lib") if _LIBRARY.fullmatch(name))
        return [f"{self.root}/lib/{name}" for name in names]


def home_of(
    image: Image, surroundings: Surroundings, program: Object, script: str, code: str, others: Sequence[str] = ()
) -> Home | None:
    """The library of this interpreter and, if it runs a script, that script's imports.

    script: "" for the interpreter alone.  code: the text that it runs instead.  others: scripts that this one runs.
    None if no standard library is found: the interpreter would not start here.
    """
    venv = _virtual_environment(image, program.path)
    base = (venv.base if venv is not None else "") or os.path.dirname(program.real)
    prefix = (surroundings.variable("PYTHONHOME") or os.path.dirname(base)).partition(":")[0]
    standard = _standard_library(image, os.path.basename(program.real), prefix)
    if standard is None:
        return None
    trees = [Installation(standard, _STANDARD_OMITTED)]
    archive = f"{os.path.dirname(standard)}/{os.path.basename(standard).replace('.', '')}.zip"
    files = [archive] if image.walk(archive) is not None else []
    own: list[str] = []
    if venv is not None:
        own = [f"{each}/site-packages" for each in venv.libraries(image)]
        trees += [Installation(each, _VENV_OMITTED) for each in venv.libraries(image)]
        files.append(f"{venv.root}/pyvenv.cfg")
    version = os.path.basename(standard)
    user = _user_site(surroundings, version) if venv is None or venv.system else []
    paths = [path for site in (*own, *user) for path in pth.paths_of(image, site)]
    if venv is not None:
        # A virtual environment is taken whole, so what is installed in it as a link to its source is, too.
        trees += [Installation(path, pth.OMITTED) for path in paths]
    shared = _site_directories(version, standard) if venv is None or venv.system else ()
    found = _imported(image, surroundings, script, code, others, (*own, *user, *paths, *shared), standard)
    trees += [Installation(path, imports.OMITTED) for path in found.trees if not _is_within(path, own)]
    lent = _OF_ZONES if any(path.endswith("/pytz") for path in found.trees) else ()
    lent = tuple(path for path in lent if image.is_file(path))
    return Home(tuple(trees), tuple(dict.fromkeys((*files, *found.files))), lent=lent, texts=found.own)


def _is_within(path: str, directories: list[str]) -> bool:
    return any(path.startswith(f"{directory}/") for directory in directories)


def _user_site(surroundings: Surroundings, version: str) -> list[str]:
    """PEP 370."""
    home = surroundings.variable("PYTHONUSERBASE") or f"{surroundings.variable('HOME') or ''}/.local"
    return [f"{home}/lib/{version}/site-packages"] if home.startswith("/") else []


def _imported(
    image: Image,
    surroundings: Surroundings,
    script: str,
    code: str,
    others: Sequence[str],
    sites: tuple[str, ...],
    standard: str,
) -> imports.Imported:
    walk = image.walk(script) if script else None
    if walk is None and not code and not any(each.endswith(".py") for each in others):
        return imports.Imported((), ())
    given = (surroundings.variable("PYTHONPATH") or "").split(":")
    # sys.path[0] is the directory of the script's real path, or the working directory.
    first = os.path.dirname(walk.real) if walk is not None else surroundings.absolute("")
    beside = [first, *(surroundings.absolute(each) for each in given if each)]
    scripts = ([walk.real] if walk is not None else []) + [each for each in others if each.endswith(".py")]
    beside = list(dict.fromkeys([*beside, *map(os.path.dirname, scripts)]))
    return imports.imported_by(image, scripts, code, beside, sites, standard)


def _site_directories(version: str, standard: str) -> tuple[str, ...]:
    """site-packages, and the three directories that Debian uses (its site.getsitepackages)."""
    return (
        f"{standard}/site-packages",
        f"/usr/local/lib/{version}/dist-packages",
        f"{os.path.dirname(standard)}/python3/dist-packages",
        f"{standard}/dist-packages",
    )


def _virtual_environment(image: Image, path: str) -> _VirtualEnvironment | None:
    """The virtual environment that contains an interpreter's path, or a link on its way."""
    walk = image.walk(path)
    for candidate in (path, *(link.path for link in walk.links)) if walk is not None else ():
        root = os.path.dirname(os.path.dirname(candidate))
        text = image.content(f"{root}/pyvenv.cfg", _CONFIG_MAX_BYTES)
        if text is not None:
            pairs = (line.partition("=") for line in os.fsdecode(text).splitlines())
            settings = {key.strip().lower(): value.strip() for key, _, value in pairs}
            home = settings.get("home", "")
            base = image.walk(home) if home.startswith("/") else None
            system = settings.get("include-system-site-packages", "").lower() == "true"
            return _VirtualEnvironment(root, base.real if base is not None else "", system)
    return None


def _standard_library(image: Image, name: str, prefix: str) -> str | None:
    match = NAME.fullmatch(name)
    for directory in (f"{prefix}/lib", f"{prefix}/lib64"):
        names = [f"python{match[1]}"] if match and match[1] else sorted(image.names(directory), reverse=True)
        for each in names:
            if _LIBRARY.fullmatch(each) and image.search(f"{directory}/{each}", "os.py") is not None:
                return f"{directory}/{each}"
    return None


def embedded(image: Image, program: Object, closure: Sequence[Object]) -> Home | None:
    """The standard library for a program that has Python in it, such as gdb; it lies beside libpython, or above."""
    for each in closure if NAME.fullmatch(os.path.basename(program.real)) is None else ():
        match = _EMBEDDED.match(each.elf.soname)
        beside = os.path.dirname(each.real)
        for directory in (beside, os.path.dirname(beside)) if match else ():
            if match and image.search(standard := f"{directory}/python{match[1]}", "os.py") is not None:
                return Home((Installation(standard, _STANDARD_OMITTED),))
    return None
