"""Files that do not report their size: stat(2) gives 0 bytes for files in /proc and 4,096 for those in /sys.

Their content may differ each time that it is read, so what was packed is kept.  Sources: proc(5), sysfs(5).
"""

from __future__ import annotations

import errno
import os
from typing import Final

SMALL_BYTES: Final = 64 << 10
"""A file that reports this size or less is read to its end to find its size."""

SMALL_READ_BYTES: Final = 16 << 20
"""Such a file must end before this size: /proc/kallsyms reports 0 bytes and has 10 MB."""

UNSIZED_BYTES_MAX: Final = 64 << 20
"""The limit for such contents of one bundle, which stay in memory until they are sent."""

_READ_BYTES: Final = 64 << 10


def read_small(handle: int) -> bytes:
    """The whole content of the file.  Raises: OSError, also if the file does not end."""
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
