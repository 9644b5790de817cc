"""What is mounted where, as this process sees it: proc_pid_mountinfo(5)."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from typing import Final

import msgspec

_NOT_FILES: Final = frozenset({
    b"autofs", b"bpf", b"cgroup", b"cgroup2", b"configfs", b"debugfs", b"devpts", b"devtmpfs", b"efivarfs", b"mqueue",
    b"proc", b"pstore", b"securityfs", b"sysfs", b"tracefs",
})  # fmt: skip
"""File systems whose content the kernel makes up: it can depend on the reader, and reading can have effects."""

_READ_BYTES: Final = 1 << 16


class Mount(msgspec.Struct, frozen=True):
    """One line.  device: st_dev of what is mounted.  options: those of the file system, comma-separated."""

    point: bytes
    device: int
    kind: bytes
    options: bytes

    def is_for_all(self, trusted: tuple[int, ...]) -> bool:
        """Whether it shows every user the same files, and only the users in `trusted` decide which.

        A FUSE file system is a program of the user who mounted it.  That program can answer anything, or never.
        """
        if self.kind.partition(b".")[0] in (b"fuse", b"fuseblk"):
            return any(b"user_id=%d" % uid in self.options.split(b",") for uid in trusted)
        return self.kind not in _NOT_FILES


class MountTable:
    """All mounts, as a tuple that stays the same object until something changes.  Any thread may ask.

    The kernel tells a reader of mountinfo by poll(2) that something was mounted or unmounted: proc(5).  Asking that
    takes 1 us; reading and parsing takes 100 us for 20 mounts, and a node with containers has hundreds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mountinfo = -1
        self._changed = select.poll()
        self._mounts: tuple[Mount, ...] = ()

    def now(self) -> tuple[Mount, ...]:
        with self._lock:
            if self._mountinfo < 0:
                self._mountinfo = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
                self._changed.register(self._mountinfo, select.POLLPRI)
                self._mounts = tuple(self._read())
            elif self._changed.poll(0):
                # What is mounted from here on is told by the next poll, even if it is in what we read now.
                self._mounts = tuple(self._read())
            return self._mounts

    def _read(self) -> Iterator[Mount]:
        content = b""
        while more := os.pread(self._mountinfo, _READ_BYTES, len(content)):
            content += more
        return map(mount_in, content.split(b"\n")[:-1])

    def __del__(self) -> None:
        if self._mountinfo >= 0:
            os.close(self._mountinfo)


def mounts() -> Iterator[Mount]:
    with open("/proc/self/mountinfo", "rb") as mountinfo:
        for line in mountinfo:
            yield mount_in(line)


def mount_in(line: bytes) -> Mount:
    """The kernel escapes blanks and newlines in what users named, so they cannot make a line look like another."""
    before, _, after = line.rstrip(b"\n").partition(b" - ")
    fields = before.split(b" ", 5)
    kind, _source, options = after.split(b" ", 2)
    major, _, minor = fields[2].partition(b":")
    return Mount(_plain(fields[4]), os.makedev(int(major), int(minor)), kind, options)


def _plain(point: bytes) -> bytes:
    """Without the octal escapes for blank, tab, newline and backslash."""
    if b"\\" in point:
        for escape, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
            point = point.replace(escape, character)
    return point
