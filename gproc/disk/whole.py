"""A file that is written completely or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO, Final

from gproc.disk.special import is_written_in_place

_OWN_MODE: Final = 0o600


@contextlib.contextmanager
def written_whole(path: str, mode: int | None = None) -> Iterator[BinaryIO]:
    """A file for the block to write, which is at `path` when the block has ended, and not at all if it fails.

    mode: its file is never open to others before it has this, whatever the umask, and is whole even if the power fails;
    None: it is as the umask has new files.  The bytes go to a device or a pipe as they come.

    Raises: OSError, a BrokenPipeError too; and whatever the block raises.
    """
    if is_written_in_place(path):
        with open(path, "wb") as file:
            yield file
        return
    beside = f"{path}.{os.urandom(8).hex()}.new"
    try:
        with open(beside, "xb", opener=_as_new_files_are if mode is None else _closed_to_others) as file:
            yield file
            if mode is not None:
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
        os.rename(beside, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(beside)


def _as_new_files_are(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def _closed_to_others(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, _OWN_MODE)
