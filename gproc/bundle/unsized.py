"""Files that do not say their size: those of /proc say 0 bytes and those of /sys 4,096, whatever they have.

proc(5), sysfs(5).  Each reading makes their content anew, so it is kept from the one reading that was packed.
"""

from __future__ import annotations

import errno
import os
from typing import Final

SMALL_BYTES: Final = 64 << 10
"""Files that say this size or less are read to their end before their size is told."""

SMALL_READ_BYTES: Final = 16 << 20
"""Such a file must end before this size: /proc/kallsyms says 0 bytes and has 10 MB."""

UNSIZED_BYTES_MAX: Final = 64 << 20
"""All such contents of one bundle: they stay in memory until they are sent."""

_READ_BYTES: Final = 64 << 10


def read_small(handle: int) -> bytes:
    """All that the file has, from its beginning.  Raises: OSError, also if it has no end."""
    os.lseek(handle, 0, os.SEEK_SET)
    data = os.read(handle, _READ_BYTES)
    if len(data) < _READ_BYTES and not (more := os.read(handle, _READ_BYTES)):
        return data  # nearly every file: two system calls
    whole = bytearray(data)
    if len(data) < _READ_BYTES:
        whole += more
    while more := os.read(handle, _READ_BYTES):
        whole += more
        if len(whole) > SMALL_READ_BYTES:
            raise OSError(errno.EFBIG, "grows while it is being read")
    return bytes(whole)
