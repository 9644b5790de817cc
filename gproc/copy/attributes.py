"""Extended attributes and access lists: which of them a copy keeps, how they are read, and how they are set.

Labels of a security module (security.selinux, security.ima and the like) are never copied: each machine's own policy
gives them.  cp(1) leaves them alone too, if the two machines have different policies.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from gproc.copy.steps import ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, Xattrs
from gproc.shown import shown

ACCESS_LIST: Final = b"system.posix_acl_access"
DEFAULT_LIST: Final = b"system.posix_acl_default"

HARMLESS: Final = (b"user.",)
"""What a node may set on the files that `get` makes here."""

USERS: Final = (*HARMLESS, ACCESS_LIST, DEFAULT_LIST)
"""What a user's `cp` keeps.  The kernel lets no user set the others: xattr(7)."""

ROOTS: Final = (*USERS, b"trusted.", b"security.capability")
"""What root's `cp` keeps.  A file capability stands for rights, as a set-id bit does."""

_NONE_HERE: Final = (errno.ENODATA, errno.ENOTSUP, errno.ENOSYS)


def kept(name: bytes, kinds: tuple[bytes, ...]) -> bool:
    """Whether one of `kinds` is this name, or ends in a dot and begins it."""
    return any(name == kind or (kind.endswith(b".") and name.startswith(kind)) for kind in kinds)


def read(what: int | bytes, kinds: tuple[bytes, ...]) -> Xattrs:
    """The attributes that a copy keeps, in the order of their names.

    what: a descriptor, or a path whose last component is not followed.  Raises: OSError.
    """
    found: list[tuple[bytes, bytes]] = []
    total = 0
    for name in _names(what):
        if not kept(name, kinds):
            continue
        try:
            value = os.getxattr(what, name) if isinstance(what, int) else os.getxattr(what, name, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NONE_HERE:
                continue  # it was removed meanwhile
            raise
        total += len(name) + len(value)
        if total > ATTRIBUTES_BYTES_MAX or len(found) == ATTRIBUTES_MAX:
            raise OSError(errno.E2BIG, f"more than {ATTRIBUTES_BYTES_MAX >> 10} KiB of extended attributes")
        found.append((name, value))
    return tuple(sorted(found))


def _names(what: int | bytes) -> list[bytes]:
    try:
        names = os.listxattr(what) if isinstance(what, int) else os.listxattr(what, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NONE_HERE:
            return []
        raise
    return [os.fsencode(name) for name in names]


def write(what: int | bytes, attributes: Xattrs, refused: Callable[[OSError], None]) -> None:
    """Set them one by one.  refused: called for each attribute that the file system does not take."""
    for name, value in attributes:
        try:
            if isinstance(what, int):
                os.setxattr(what, name, value)
            else:
                os.setxattr(what, name, value, follow_symlinks=False)
        except OSError as error:
            kind = "access list" if name in (ACCESS_LIST, DEFAULT_LIST) else f"attribute {shown(name)}"
            refused(OSError(error.errno, f"its {kind} was refused: {error.strerror}"))


def clear_lists(what: int | bytes, *names: bytes) -> None:
    """Remove access lists that were inherited from the directory above.  Raises: OSError."""
    for name in names:
        try:
            os.removexattr(what, name)
        except OSError as error:
            if error.errno not in _NONE_HERE:
                raise


def by_descriptor(handle: int) -> bytes:
    """A path to the file of an O_PATH descriptor, for system calls that take no descriptor: open(2).

    The kernel goes straight to the file, whatever its name is now.
    """
    return b"/proc/self/fd/%d" % handle
