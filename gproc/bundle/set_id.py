"""Programs that gain rights when they are executed: on a node they would not."""

from __future__ import annotations

import stat
from typing import Final

from gproc.bundle.image import Image
from gproc.errors import BundleError

_BITS: Final = stat.S_ISUID | stat.S_ISGID


def has(image: Image, path: str) -> bool:
    """Whether a program sets its user or group."""
    walk = image.walk(path)
    return walk is not None and walk.status.st_mode & _BITS != 0


def refuse(image: Image, program: str, superuser: bool) -> None:
    """Raises: BundleError if the caller may not send such a program, and this is one."""
    walk = image.walk(program)
    if walk is None or superuser or not walk.status.st_mode & _BITS:
        return
    kind = "set-user-id" if walk.status.st_mode & stat.S_ISUID else "set-group-id"
    raise BundleError(
        f"{image.shown(walk.real)}: is {kind}; on the nodes it would run without that right;"
        " -localbin runs the node's own program"
    )
