"""The library of an interpreter, as a value: the files that it needs to start."""

from __future__ import annotations

import re

import msgspec

from gproc.bundle.meaning import Ran


class Installation(msgspec.Struct, frozen=True):
    """A directory with all its contents, except paths that match `omitted`."""

    path: str
    omitted: re.Pattern[str] | None = None

    def omits(self, path: str) -> bool:
        return self.omitted is not None and self.omitted.search(path) is not None


class Home(msgspec.Struct, frozen=True):
    """Trees and single files.  Shared objects among them are extension modules, which the interpreter loads itself.

    beside: files of the caller's that its script names.  yielding: those that give way to a node's own of that name.
    programs: those that it, or its script, runs.  lent: other files that give way to a node's own.
    texts: scripts of the caller's that it loads.
    whole: what a script names by its whole path, as far as it does not know where a bundle is (GPROC_ROOT).
    told: directories that its script puts into search paths, by variable.
    """

    trees: tuple[Installation, ...] = ()
    files: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    yielding: frozenset[str] = frozenset()
    programs: tuple[Ran, ...] = ()
    lent: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    told: tuple[tuple[str, str], ...] = ()
    whole: frozenset[str] = frozenset()


def is_shared_object(path: str) -> bool:
    return path.endswith(".so") or ".so." in path
