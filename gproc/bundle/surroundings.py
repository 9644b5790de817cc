"""The environment and working directory in which a program is packed, with a record of which parts were read.

The record goes into the cache: a bundle stays valid if a variable changes that packing did not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from gproc.errors import GprocError


def working_directory() -> str:
    """The working directory of this process.  Raises: GprocError if it was removed."""
    try:
        return os.getcwd()
    except OSError as error:
        raise GprocError(f"the working directory is gone ({error.strerror}): change to one that exists") from error


class Surroundings:
    def __init__(self, environ: Mapping[str, str], cwd: str) -> None:
        self._environ = environ
        self._cwd = cwd
        self._asked: dict[str, str | None] = {}
        self._cwd_asked = False
        self._told: dict[str, dict[str, None]] = {}

    def variable(self, name: str) -> str | None:
        value = self._environ.get(name)
        self._asked[name] = value
        told = self._told.get(name)
        return value if told is None else ":".join((*told, *([value] if value else [])))

    def tell(self, told: Iterable[tuple[str, str]]) -> None:
        """A script that is packed puts directories in front of search paths, each by its variable, and runs others."""
        for name, directory in told:
            self._told.setdefault(name, {})[directory] = None

    @contextmanager
    def of_child(self) -> Iterator[None]:
        """What is told meanwhile is for one program and those that it runs, as with a process's environment."""
        before = self._told
        self._told = {name: dict(directories) for name, directories in before.items()}
        try:
            yield
        finally:
            self._told = before

    def absolute(self, path: str) -> str:
        """The absolute path; a relative one begins at the working directory, which "" names."""
        if path.startswith("/"):
            return path
        self._cwd_asked = True
        return f"{self._cwd.rstrip('/')}/{path}".rstrip("/") or "/"

    def environ_asked(self) -> tuple[tuple[bytes, bytes | None], ...]:
        return tuple(
            (os.fsencode(name), None if value is None else os.fsencode(value)) for name, value in self._asked.items()
        )

    def cwd_asked(self) -> bytes | None:
        return os.fsencode(self._cwd) if self._cwd_asked else None
