"""Decides which directories that a caller named are shown at their own paths, and where a job starts.  Pure.

The shipped files, the directories that had to be made for them, and the working directory are private.  All else is the
node's, and a job that writes there writes to the node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from gproc.content.manifest import Directory, File, Symlink
from gproc.content.paths import within
from gproc.root.asked import Asked
from gproc.root.code_layout import CodeLayout
from gproc.root.facts import NodeFacts
from gproc.root.view import OwnTop

_SHARED: Final = frozenset(
    b"/ /tmp /var /var/tmp /var/lib /var/log /var/cache /var/spool /var/run /opt /home /srv /mnt /media /usr/local"
    b" /dev/shm".split()
)
"""As working directories, these are the node's own: no caller wants them empty."""

_MEMORY: Final = b"/dev/shm"

PROC: Final = b"/proc"
"""A job has one of its own, which hides what would be shown there."""

_SYSTEM: Final = (b"/etc", b"/run", b"/proc", b"/sys", b"/dev", b"/boot")

_DISTRIBUTION: Final = (b"/usr", b"/lib", b"/lib32", b"/lib64", b"/libx32", b"/bin", b"/sbin", b"/etc")


class WorkingDirectory(msgspec.Struct, frozen=True):
    """is_nodes: nothing is made for it.  in_place: the job starts at its own path, not at the one below its root.

    home: it is the caller's home, in which the node's own files are seen too.
    """

    path: bytes
    is_nodes: bool
    in_place: bool
    home: bool = False


class Shown(msgspec.Struct, frozen=True):
    """directories: path, and whether the job's own stands for the node's altogether; in the order of mounting.

    places: the code directories that are whole by that.
    """

    directories: tuple[tuple[bytes, bool], ...]
    places: frozenset[bytes]


def working_directory(asked: Asked, bin_root: bytes, facts: NodeFacts) -> WorkingDirectory:
    cwd = asked.cwd
    if asked.own_cwd:
        return WorkingDirectory(cwd, True, True)
    system = any(within(cwd, each) for each in (*_SYSTEM, *_DISTRIBUTION)) and not within(cwd, _MEMORY)
    nodes = cwd in _SHARED or system
    if nodes and facts.has_cwd:
        return WorkingDirectory(cwd, True, True)
    if nodes or within(bin_root, cwd):
        return WorkingDirectory(cwd, False, False)
    return WorkingDirectory(cwd, False, True, home=bool(asked.home) and within(asked.home, cwd))


def is_distributions(path: bytes) -> bool:
    return any(within(path, each) for each in _DISTRIBUTION)


def top_of(path: bytes) -> bytes:
    return b"/" + path.split(b"/", 2)[1]


def shown(
    layout: CodeLayout | None, facts: NodeFacts, cwd: WorkingDirectory, places: Iterable[bytes], made: Iterable[bytes]
) -> Shown:
    """places: the code directories that no union covers.  made: directories that a union had to make."""
    directories: dict[bytes, bool] = {}
    whole = set()
    for top in sorted(facts.tops):
        if layout is not None and isinstance(layout.tops.get(top), Directory):
            directories[top] = True
    if not cwd.is_nodes and cwd.in_place:
        directories.setdefault(cwd.path, not cwd.home)
    for place in places:
        if within(place, PROC):
            continue
        if top_of(place) not in facts.tops:
            directories.setdefault(place, False)
        whole.add(place)
    for path in made:
        directories.setdefault(path, True)
    return Shown(tuple(directories.items()), frozenset(whole))


def top(layout: CodeLayout | None, facts: NodeFacts, cwd: WorkingDirectory, bin_root: bytes) -> Iterator[OwnTop]:
    """A root directory of the job's own, if the node's lacks an entry: nothing can be mounted where nothing is."""
    directories, links = [], []
    for path in sorted(facts.tops):
        entry = layout.tops.get(path) if layout is not None else None
        if isinstance(entry, Symlink):
            links.append((path[1:], entry.target))
        elif isinstance(entry, File):
            links.append((path[1:], bin_root + path))  # as of an image whose program is /app
        elif isinstance(entry, Directory) or (path == top_of(cwd.path) and not cwd.is_nodes and cwd.in_place):
            directories.append(path[1:])
    if directories or links:
        yield OwnTop(bin_root, tuple(directories), tuple(links))
