"""The files in which a site and a user set defaults: where they are, and whether they can be trusted.

Trust: a site's file counts if root alone can write it, a user's if that user or root alone can.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gproc.errors import TrustError, UsageError
from gproc.trust.home import home_path

SITE_PATH: Final = "/etc/gproc/config.toml"
USER_NAME: Final = "config.toml"

Files = Sequence[tuple[str, frozenset[int]]]
"""Paths, the weaker first, and the uids that may own each."""

_BYTES_MAX: Final = 1 << 20
"""The limit of a file.  A file that sets every switch in every section is smaller by a factor of a hundred."""

_OTHERS_WRITE: Final = 0o022


def config_paths(environ: Mapping[str, str]) -> Files:
    """The site's file and the user's, whether they are there or not."""
    site = (SITE_PATH, frozenset({0}))
    try:
        return (site, (os.path.join(home_path(environ), USER_NAME), frozenset({0, os.geteuid()})))
    except TrustError:  # this user has no home
        return (site,)


BYTE_ORDER_MARK: Final = "\ufeff"
"""What some editors of Windows put before the text of a file in UTF-8; nobody sees it."""


def toml_of(path: str, text: str) -> dict[str, Any]:
    """The content of the file's text.  Raises: UsageError, which names the file."""
    import tomllib  # here, so that a user without such a file does not pay for it

    try:
        return tomllib.loads(text.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:  # a number of 4,301 digits is no TOMLDecodeError
        raise UsageError(f"{path}: this is not TOML: {error}") from None


def config_text(path: str, owners: frozenset[int]) -> str | None:
    """The file's text; None if there is none.  It is checked after it was opened, so no other user can exchange it in
    between."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(path):  # somebody has set something there
            raise TrustError(f"cannot read {path}: it is a link, and what it leads to is not there") from error
        return None
    except PermissionError as error:
        # A directory of another user, as after su(1) without a new HOME: it is not this user's file.
        if not os.access(os.path.dirname(path), os.X_OK):
            return None
        raise TrustError(f"cannot read {path}: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise TrustError(f"{path} is not a regular file, so it cannot be trusted")
    with open(descriptor, "rb") as file:
        if status.st_uid not in owners:
            raise TrustError(
                f"{path} belongs to uid {status.st_uid}, so it cannot be trusted by uid {os.geteuid()}:"
                " change its owner, or set GPROC_HOME to a directory of your own"
            )
        if status.st_mode & _OTHERS_WRITE:
            raise TrustError(f"{path} can be written by others, so it cannot be trusted: chmod go-w {path}")
        data = file.read(_BYTES_MAX + 1)
    if len(data) > _BYTES_MAX:
        raise UsageError(f"{path} is larger than {_BYTES_MAX} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path}: this is not TOML: it is not UTF-8") from None
