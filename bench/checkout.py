"""Directories with gproc's source: the one that contains this package, and copies of it and of another revision.

The measuring code is always this checkout's own.  Only the measured processes import gproc from the directory that
they are given, so two revisions are measured by the same code.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Final

import msgspec

from bench.cleanup import temporary_directory

_PARTS: Final = ("gproc", "bench", "pyproject.toml")
"""The parts of this checkout that are copied: the package, the benchmarks, and the list of its dependencies."""

_HELPER: Final = "gproc-helper"
"""The program in C that gproc/native/build.py makes: never copied, since it may be older than its sources."""

_IMPORTED: Final = "import gproc; print(gproc.__file__)"


class CheckoutFailed(Exception):
    """A revision cannot be measured; the message says why, and what to do."""


class Checkout(msgspec.Struct, frozen=True):
    """A directory with the package gproc in it.

    name: for people.  pycache: the directory of Python's compiled modules; None if each tree has a temporary one.
    """

    path: str
    name: str
    pycache: str | None = None

    def environment(self, place: str) -> dict[str, str]:
        """This process's environment, changed so that a child imports this checkout's gproc and keeps its state below
        `place`.

        Python's compiled modules are kept there too, as on a user's machine, even if this process does not write any.
        """
        ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return ours | {
            "GPROC_HOME": f"{place}/home",
            "XDG_CACHE_HOME": f"{place}/cache",
            "PYTHONPATH": self.path,
            "PYTHONPYCACHEPREFIX": self.pycache or f"{place}/pyc",
        }


OWN: Final = Checkout(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "this checkout")


@contextlib.contextmanager
def pair(ref: str) -> Iterator[tuple[Checkout, Checkout]]:
    """The revision `ref`, and this checkout with its uncommitted changes: copies that last until the end of `with`.

    This checkout is copied too, so that its files may be edited during the measurement, and so that both sides lie in
    the same file system.  Raises: CheckoutFailed.
    """
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", what=f"revision {ref!r}")
    with temporary_directory() as place:
        there = Checkout(f"{place}/ref", f"{ref} ({commit[:7]})", f"{place}/ref.pyc")
        here = Checkout(f"{place}/own", f"this checkout ({_described()})", f"{place}/own.pyc")
        _extract(commit, there.path)
        _copy(here.path)
        for checkout in (there, here):
            check(checkout, place)
            _build(checkout)
        yield there, here


def _extract(commit: str, path: str) -> None:
    """Extract the files of a commit.  A git worktree is not used, because git would still list it if we were killed."""
    os.mkdir(path)
    archive = f"{path}.tar"
    _git("archive", "--format=tar", f"--output={archive}", commit, what=f"commit {commit}")
    subprocess.run(["tar", "-x", "-f", archive, "-C", path], check=True)
    os.unlink(archive)


def _copy(path: str) -> None:
    os.mkdir(path)
    for part in _PARTS:
        source = os.path.join(OWN.path, part)
        if os.path.isdir(source):
            shutil.copytree(source, f"{path}/{part}", ignore=shutil.ignore_patterns("__pycache__", _HELPER))
        else:
            shutil.copy(source, path)


def check(checkout: Checkout, place: str) -> None:
    """Check that this interpreter has the checkout's dependencies, and that a child imports gproc from the checkout.

    Raises: CheckoutFailed.
    """
    if missing := _missing(f"{checkout.path}/pyproject.toml"):
        raise CheckoutFailed(
            f"{checkout.name} needs {', '.join(missing)}, which {sys.executable} lacks: install it there first"
        )
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTED], env=checkout.environment(place), cwd="/", capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        reason = " ".join(done.stderr.strip().splitlines()[-1:])
        raise CheckoutFailed(f"{checkout.name} has no package gproc that {sys.executable} can import: {reason}")
    found = os.path.realpath(done.stdout.strip())
    if not found.startswith(os.path.realpath(checkout.path) + os.sep):
        raise CheckoutFailed(f"a process of {checkout.name} would import gproc from {found}: uninstall that one first")


def _build(checkout: Checkout) -> None:
    """Compile what an installation of this checkout would have compiled; print why, if that fails."""
    script = f"{checkout.path}/gproc/native/build.py"
    if os.path.exists(script):
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{checkout.name}: {done.stderr.strip()}", flush=True)


def _missing(pyproject: str) -> list[str]:
    """Packages that a project depends on and that are not installed, by name; versions are not compared."""
    try:
        with open(pyproject, "rb") as file:
            needed = tomllib.load(file)["project"].get("dependencies", [])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return []  # without a list, the import shows what is missing
    names = [match[0] for requirement in needed if (match := re.match(r"[\w.-]+", requirement))]
    return [name for name in names if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _described() -> str:
    """The commit that is checked out here, with "-dirty" if files were changed since."""
    return _git("describe", "--always", "--dirty", "--exclude=*", "--abbrev=7", what="this checkout")


def _git(*arguments: str, what: str) -> str:
    try:
        done = subprocess.run(["git", "-C", OWN.path, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise CheckoutFailed("--compare needs git, which is not installed") from error
    if done.returncode:
        reason = done.stderr.strip() or f"there is no such revision in {OWN.path}"
        raise CheckoutFailed(f"git knows no {what}: {reason}")
    return done.stdout.strip()
