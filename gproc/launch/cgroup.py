"""A job's own control groups, cgroups(7), if this node lets the launcher make any.

With version 2, the group is made below the slave's own group or beside it, wherever the controller is switched on for
children: beside it in what systemd runs, below it at the root.  Controllers of a mounted version 1 are used too.
The launcher makes and removes groups.  A job's first process joins its group before it gives up the slave's rights.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from gproc.request.limits import Limits

_PIDS: Final = b"pids"
_MEMORY: Final = b"memory"

_LEAST_BYTES: Final = 4 << 20
"""The memory that init and a small program use before the program's main(): 2 MiB here, with a dynamic loader."""


_PREFIX: Final = b"gproc-"

_NAME: Final = re.compile(_PREFIX + rb"[0-9a-f]{16}")

_LEFT_S: Final = 60.0
"""A group that is empty and older is no slave's any more: a job's first process joins its group within milliseconds."""

_GROUPS_MAX: Final = 1000
"""Groups that one job may have made in its own, and that are removed, in some 10 ms."""


class CgroupPlace(msgspec.Struct, frozen=True):
    """A directory in which groups with one controller can be made.  unified: it is of version 2."""

    directory: bytes
    unified: bool


class Group(msgspec.Struct, frozen=True):
    """The groups of one job, and what they bound.  Only rlimits bound the rest.

    unbounded_because: why no group bounds the number of processes.
    """

    directories: tuple[bytes, ...] = ()
    processes: bool = False
    memory: bool = False
    unbounded_because: str = ""

    def join(self) -> None:
        """Put this process, and every process that it forks from now on, into the group."""
        for directory in self.directories:
            _write(directory + b"/cgroup.procs", b"0")

    def remove(self) -> None:
        """Remove the groups once nothing runs in them, and those that the job has made in them.

        A group that cannot be removed now stays until a later job's groups are made there; one with too many groups in
        it stays for good.
        """
        for directory in self.directories:
            _remove(_below(directory))


class LeftGroups:
    """Removes groups that killed slaves have left.  It looks once a minute at most: a look reads all groups there."""

    def __init__(self) -> None:
        self._looked_s: dict[bytes, float] = {}
        """By directory, by time.monotonic()."""

    def remove_below(self, parents: Iterable[bytes]) -> None:
        now_s = time.monotonic()
        for parent in parents:
            if now_s - self._looked_s.get(parent, -_LEFT_S) >= _LEFT_S:
                self._looked_s[parent] = now_s
                _remove_left(parent)


class Cgroups:
    """The hierarchies as this process finds them."""

    def __init__(self, mountinfo: bytes, own: bytes) -> None:
        """mountinfo, own: what /proc/self/mountinfo and /proc/self/cgroup say: proc(5), cgroups(7)."""
        self._groups = dict(_own_groups(own))
        self._mounts = list(_mounts(mountinfo))

    @classmethod
    def here(cls) -> Cgroups:
        with open("/proc/self/mountinfo", "rb") as mountinfo, open("/proc/self/cgroup", "rb") as own:
            return cls(mountinfo.read(), own.read())

    def make(self, limits: Limits, left: LeftGroups | None = None) -> Group:
        """A group with those bounds of `limits` whose controller this node has.

        left: removes before what killed slaves have left there.

        Raises: OSError, which names the file that the kernel did not take.
        """
        pids = self._place(_PIDS) if limits.max_procs is not None else None
        memory = self._place(_MEMORY) if limits.mem_bytes is not None else None
        if memory is not None and limits.mem_bytes is not None and limits.mem_bytes < _LEAST_BYTES:
            raise OSError(errno.EINVAL, f"a program needs at least {_LEAST_BYTES >> 20} MiB to start")
        name = b"/" + _PREFIX + os.urandom(8).hex().encode()
        group = Group(
            tuple(dict.fromkeys(place.directory + name for place in (pids, memory) if place is not None)),
            pids is not None,
            memory is not None,
            self._why_none(_PIDS),
        )
        try:
            if left is not None:
                left.remove_below([os.path.dirname(directory) for directory in group.directories])
            for directory in group.directories:
                os.mkdir(directory, 0o755)
            if pids is not None and limits.max_procs is not None:
                # The job's init counts as one of them.
                _write(pids.directory + name + b"/pids.max", b"%d" % (limits.max_procs + 1))
            if memory is not None and limits.mem_bytes is not None:
                _bound_memory(memory.directory + name, limits.mem_bytes)
        except OSError:
            group.remove()
            raise
        return group

    def _place(self, controller: bytes) -> CgroupPlace | None:
        return next((place for place in self._places(controller) if _can_make(place, controller)), None)

    def _places(self, controller: bytes) -> Iterator[CgroupPlace]:
        for kind, controllers, root, at in self._mounts:
            unified = kind == b"cgroup2"
            own = self._groups.get(b"" if unified else controller)
            if own is None or not (unified or controller in controllers):
                continue
            inside = own.removeprefix(root.rstrip(b"/")).rstrip(b"/")
            yield CgroupPlace(at + inside, unified)
            if unified and inside:
                yield CgroupPlace(at + inside.rpartition(b"/")[0], unified)

    def _why_none(self, controller: bytes) -> str:
        places = [os.fsdecode(place.directory) for place in self._places(controller)]
        name = controller.decode()
        if not places:
            return f"no cgroup hierarchy that could have the controller {name} is mounted"
        return f"groups with the controller {name} cannot be made in {' or '.join(places)}"


def _below(directory: bytes) -> list[bytes]:
    """A group and those in it, each behind what is in it; [] if they are too many, or it is not there."""
    found = [directory]
    for each in found:
        try:
            with os.scandir(each) as entries:
                found += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        if len(found) > _GROUPS_MAX:
            return []
    return found[::-1]


def _remove(directories: Iterable[bytes]) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def _remove_left(parent: bytes) -> None:
    """Remove what jobs whose slave was killed have left in `parent`.  Nobody else does."""
    now_s = time.time()
    try:
        names = [name for name in os.listdir(parent) if _NAME.fullmatch(name)]
    except OSError:
        return
    for name in names:
        group = os.path.join(parent, name)
        with contextlib.suppress(OSError):
            if now_s - os.stat(group).st_mtime > _LEFT_S:
                left = _below(group)
                if not any(_has_processes(each) for each in left):
                    _remove(left)


def _has_processes(directory: bytes) -> bool:
    with open(directory + b"/cgroup.procs", "rb") as processes:
        return bool(processes.read(1))


def _own_groups(own: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(controller, path of our group).  With version 2, the controller is b""."""
    for line in own.splitlines():
        _number, controllers, path = line.split(b":", 2)
        for controller in controllers.split(b","):
            yield controller, path


def _mounts(mountinfo: bytes) -> Iterator[tuple[bytes, frozenset[bytes], bytes, bytes]]:
    """(file system type, options, root inside it, mount point) of each cgroup hierarchy."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(b" - ")
        kind, _source, options = after.split(b" ", 2)
        if kind in (b"cgroup", b"cgroup2"):
            fields = before.split(b" ")
            yield kind, frozenset(options.split(b",")), fields[3], fields[4]


def _can_make(place: CgroupPlace, controller: bytes) -> bool:
    if not os.access(place.directory, os.W_OK):
        return False
    if not place.unified:
        return True
    try:
        with open(place.directory + b"/cgroup.subtree_control", "rb") as switched_on:
            return controller in switched_on.read().split()
    except OSError:
        return False


def _bound_memory(directory: bytes, size_bytes: int) -> None:
    value = b"%d" % size_bytes
    if os.path.exists(directory + b"/memory.max"):
        swap, nothing = b"/memory.swap.max", b"0"
        _write(directory + b"/memory.max", value)
    else:
        swap, nothing = b"/memory.memsw.limit_in_bytes", value
        _write(directory + b"/memory.limit_in_bytes", value)
    # Kernels without swap accounting have no such file.
    with contextlib.suppress(FileNotFoundError):
        _write(directory + swap, nothing)


def _write(path: bytes, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fsdecode(path)) from error
    finally:
        os.close(fd)
