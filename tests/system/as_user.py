"""The command `gproc` run as another user."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final


def gproc_as(uid: int | None, groups: Sequence[int] = ()) -> list[str]:
    """The command `gproc`, run as another user if uid is given, even if that user cannot read the tests' Python."""
    return [sys.executable, "-m", "gproc"] if uid is None else _as(IMPORT_ALL, uid, groups)


def command_as(uid: int | None, groups: Sequence[int] = ()) -> list[str]:
    """The same at a fifth of the cost, for what starts no other Python by fork(2) and counts no descriptors."""
    return [sys.executable, "-m", "gproc"] if uid is None else _as(_KEEP_OR_IMPORT_ALL, uid, groups)


def _as(begin: str, uid: int, groups: Sequence[int]) -> list[str]:
    return [sys.executable, "-c", begin + _BECOME, str(uid), ",".join(map(str, groups))]


IMPORT_ALL: Final = """
import concurrent.futures.thread, encodings.idna, importlib, os, pkgutil, pwd, stringprep, sys, unicodedata
import gproc

def import_all(package):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name in ("gproc.adapters", "gproc.start", "gproc.top", "gproc.web"):
            continue  # modes of their own, whose libraries take a second and more
        imported = importlib.import_module(module.name)
        if module.ispkg:
            import_all(imported)

import_all(gproc)
"""
"""What a program does before it goes where it cannot read the tests' Python."""

_KEEP: Final = """
import os, sys

def kept(path):
    return f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_DIRECTORY)}"

sys.path[:] = [kept(path) if os.path.isdir(path) else path for path in sys.path]
for module in list(sys.modules.values()):
    if hasattr(module, "__path__"):
        module.__path__[:] = map(kept, module.__path__)
"""
"""Modules are found by handles of their directories, so a user who may not enter those above can import them."""

_KEEP_OR_IMPORT_ALL: Final = f"""
import os, sys
from importlib.util import find_spec

packages = [place for name in ("gproc", "msgspec") for place in find_spec(name).submodule_search_locations]
if all(os.stat(path).st_mode & 0o5 == 0o5 for path in (*filter(os.path.isdir, sys.path), *packages)):
    exec({_KEEP!r})
else:
    exec({IMPORT_ALL!r})
"""

_BECOME: Final = """
from gproc.root import kernel
uid, groups = int(sys.argv[1]), sys.argv[2]
os.setgroups([int(group) for group in groups.split(",") if group])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # as after an execve(2): otherwise /proc/self belongs to root
del sys.argv[1:3]
from gproc.cli.main import main
sys.exit(main())
"""
