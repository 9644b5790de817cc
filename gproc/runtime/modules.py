"""Which modules a slave needs, by the text of their imports; nothing is imported or executed.

Imports in functions count too, so the list is longer than what one slave loads.  What C code imports is not in any
text; it is named in `ROOTS`, and tests/runtime imports all with nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from modulefinder import ModuleFinder
from typing import Final, NamedTuple

import gproc
from gproc.locales import SHIPPED

ROOTS: Final = (
    "gproc.__main__",
    "gproc.cli.main",
    "gproc.cli.slave",
    "gproc.cli.started",
    "gproc.launch.serving",
    "gproc.policy.account",
    # What C code and the import of modules by a computed name ask for.
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.utf_8",
    "_cffi_backend",
    "zstandard.backend_c",
    "_strptime",
    "numbers",
    "runpy",
    *(target.partition(":")[0] for target in SHIPPED.values()),
)

LEFT_OUT: Final = (
    # Of Python's own: for developers, for other systems, for other protocols, for files of other kinds; imported by
    # functions that a slave never calls, or by modules that do without.
    "_pydecimal", "_pyio", "argparse", "asyncio.windows_events", "asyncio.windows_utils", "bdb", "bz2", "cmd",
    "concurrent.futures.process", "csv", "curses", "distutils", "doctest", "email", "ensurepip", "getopt", "gettext",
    "html", "http", "importlib.metadata", "importlib.resources", "lib2to3", "lzma", "multiprocessing", "optparse",
    "pdb", "plistlib", "py_compile", "pydoc", "pydoc_data", "readline", "sqlite3", "statistics", "tarfile", "test",
    "tkinter", "unittest", "urllib.request", "webbrowser", "xml", "xmlrpc", "zipfile",
    # Of the front end.
    "ClusterShell", "asyncssh", "cryptography", "gproc.cli.completing", "gproc.cli.help", "gproc.cli.installing",
    "gproc.client", "gproc.naming.expanding", "gproc.packager", "gproc.runtime", "lief", "pkg_resources", "pycparser",
    "rich", "setuptools", "shellingham", "typer", "typing_extensions", "yaml", "zstandard._cffi",
    "zstandard.backend_cffi", "zstandard.backend_rust",
)  # fmt: skip


class Module(NamedTuple):
    """One module: where it is read, and where it stands below the directory of modules, without a suffix."""

    source: str
    place: str
    is_extension: bool


def modules_of_a_slave() -> list[Module]:
    """In the order of their places."""
    finder = ModuleFinder(path=[path for path in sys.path if path], excludes=LEFT_OUT)
    for name in ROOTS:
        finder.import_hook(name, None, ["*"])
    return found_by(finder)


def found_by(finder: ModuleFinder) -> list[Module]:
    """In the order of their places."""
    return sorted(set(_found(finder)), key=lambda module: module.place)


def _found(finder: ModuleFinder) -> Iterator[Module]:
    for name, module in finder.modules.items():
        source: str | None = vars(module)["__file__"]
        if source is None:  # built into the interpreter, or a directory without __init__.py
            continue
        place = name.replace(".", "/")
        if os.path.basename(source) == "__init__.py":
            yield Module(source, f"{place}/__init__", False)
        elif source.endswith(".py"):
            yield Module(source, place, False)
        else:
            # Python takes for its exec_prefix what has this directory, else where it was installed on the machine that
            # built it: a path at which another user may have put something.
            directory = os.path.dirname(place) or "lib-dynload"
            yield Module(source, f"{directory}/{os.path.basename(source)}", True)


def own_directory() -> str:
    return os.path.dirname(os.path.abspath(gproc.__file__))
