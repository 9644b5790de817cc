"""Whether other users can change what a path leads to.

A daemon names files in its directories by path.  A user who can rename an entry of such a directory, or of one above
it, or the link by which it is reached, can give the daemon other files than it has made: jobs of root would execute
them.

So for a process of root, every directory on the way must belong to root, and others may write to it only if it is
sticky, as /tmp is; every link must belong to root.  A process of another user can lose only what is that user's: its
directory must belong to that user or to root.  / does not count: its owner needs no such way.
"""

from __future__ import annotations

import os
import stat
from typing import Final

_LINKS_MAX: Final = 40
"""path_resolution(7)."""

_OVERFLOW_UID: Final = 65534
"""What stat(2) shows for a user that the user namespace does not map: /proc/sys/kernel/overflowuid."""

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def user_name(uid: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def why_untrusted(path: str | bytes) -> str:
    """Why other users could change what the directory `path` is, as one clause; "" if they cannot.

    What is missing is nobody's yet: the directory in which it would be made counts, so make it, and ask again.
    """
    place = os.fsencode(path)
    place = place if place.startswith(b"/") else os.path.join(os.getcwdb(), place)
    if os.geteuid() != 0:
        return _of_end(place)
    trusted = _trusted()
    here, waiting, links = b"", _parts(place), 0
    while waiting:
        name = waiting.pop(0)
        if name == b"..":
            here = os.path.dirname(here).rstrip(b"/")
            continue
        entry = here + b"/" + name
        try:
            found = os.lstat(entry)
            target = os.readlink(entry) if stat.S_ISLNK(found.st_mode) else None
        except OSError:
            return ""  # the code that uses it says what is wrong
        if found.st_uid not in trusted:
            return f"{_kind(found)}{os.fsdecode(entry)} belongs to {user_name(found.st_uid)}"
        if target is not None:
            links += 1
            if links > _LINKS_MAX:
                return f"{os.fsdecode(place)} is a loop of links"
            here, waiting = b"" if target.startswith(b"/") else here, _parts(target) + waiting
            continue
        if found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX:
            mode = stat.S_IMODE(found.st_mode)
            return f"{os.fsdecode(entry)} may be written to by others (mode {mode:o}; chmod go-w it)"
        here = entry
    return ""


def leads_nowhere(path: str) -> bool:
    """Whether a link, which `path` or a directory above it is, leads to what is not there: then something was meant.

    A file system that is not mounted, or a configuration that was copied by half, looks like this.
    """
    while path and path != "/" and not os.path.lexists(path):
        path = os.path.dirname(path)
    return bool(path) and not os.path.exists(path)


def make_directories(path: str | bytes, mode: int) -> None:
    """As os.makedirs(), whatever the umask: no other user may write to the directories that are made above it.

    Raises: OSError.
    """
    above = os.path.dirname(os.fsencode(path).rstrip(b"/"))
    if above and not os.path.isdir(above):
        make_directories(above, 0o755)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def make_trusted(path: str | bytes, mode: int) -> str:
    """Make a directory if it is missing.  Returns the same as `why_untrusted`: if it is something, nothing was made.

    Raises: OSError.
    """
    if reason := why_untrusted(path):
        return reason
    make_directories(path, mode)
    return why_untrusted(path)  # as it was made: another user may have been first


def _of_end(place: bytes) -> str:
    try:
        found = os.stat(place)
    except OSError:
        return ""
    if found.st_uid in (0, os.geteuid()) or found.st_uid in _trusted():
        return ""
    return f"{os.fsdecode(place)} belongs to {user_name(found.st_uid)}"


def _trusted() -> frozenset[int]:
    """Users who may do more than we can, seen from here.

    In a user namespace the owners of the machine's own directories are unknown: real root's are shown as another
    user's.
    """
    try:
        with open("/proc/self/uid_map", "rb") as file:
            is_whole = file.read(100).split() == [b"0", b"0", b"4294967295"]
    except OSError:
        is_whole = True
    return frozenset({0} if is_whole else {0, _OVERFLOW_UID})


def _parts(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def _kind(found: os.stat_result) -> str:
    return "the link " if stat.S_ISLNK(found.st_mode) else ""
