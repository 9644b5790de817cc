"""SIF, the images of Apptainer and Singularity: a header, a table, and a file system in squashfs.

Only the table is read here.  A user cannot mount squashfs, so `unsquashfs` of squashfs-tools unpacks it.
Source: github.com/apptainer/sif, pkg/sif/sif.go (version 01).
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from hashlib import blake2b
from typing import IO, Final

from gproc.errors import BundleError

_MAGIC: Final = b"SIF_MAGIC\0"
_MAGIC_AT: Final = 32
_TABLE_AT: Final = 32 + 10 + 3 + 3 + 16
_TABLE: Final = struct.Struct("<qqqqqqqq")
"""Created, modified; descriptors: free, total; offset and length of the table, offset and length of the data."""

_DESCRIPTOR: Final = struct.Struct("<i?IIIqqqqqqq128s384s")
_PARTITION: Final = 0x4004
_PARTITION_KIND: Final = struct.Struct("<ii")
_SQUASHFS: Final = 1
_PRIMARY: Final = 2

_DESCRIPTORS_MAX: Final = 1024
"""Apptainer makes 48."""

_UNPACKING_S: Final = 3600


def is_sif(file: IO[bytes]) -> bool:
    file.seek(_MAGIC_AT)
    return file.read(len(_MAGIC)) == _MAGIC


def root_of(file: IO[bytes], path: str, kept: str) -> str:
    """The directory below `kept` with the root file system of an image.  Raises: BundleError, OSError."""
    offset = primary_partition(file)
    facts = os.fstat(file.fileno())
    # It names no digest of its own, so its state stands for it, as for make(1).
    said = f"{os.path.realpath(path)}\0{facts.st_dev} {facts.st_ino} {facts.st_size} {facts.st_mtime_ns}"
    place = os.path.join(kept, "sif-" + blake2b(os.fsencode(said), digest_size=32).hexdigest())
    if not os.path.isdir(place):
        _unpack(path, offset, place)
    return place


def primary_partition(file: IO[bytes]) -> int:
    """Where the squashfs of the root file system begins.  Raises: BundleError if it has none."""
    file.seek(_TABLE_AT)
    head = file.read(_TABLE.size)
    if len(head) < _TABLE.size:
        raise BundleError("this SIF file is cut short")
    _, _, _, total, table_at, _, _, _ = _TABLE.unpack(head)
    if not 0 <= total <= _DESCRIPTORS_MAX or table_at < 0:
        raise BundleError("the table of this SIF file is damaged")
    file.seek(table_at)
    table = file.read(total * _DESCRIPTOR.size)
    for at in range(0, len(table) - _DESCRIPTOR.size + 1, _DESCRIPTOR.size):
        kind, used, _, _, _, offset, size, *_, extra = _DESCRIPTOR.unpack_from(table, at)
        if not used or kind != _PARTITION:
            continue
        file_system, role = _PARTITION_KIND.unpack_from(extra)
        if role == _PRIMARY:
            if file_system != _SQUASHFS:
                raise BundleError("the root file system of this SIF image is no squashfs, and only root can read it")
            if offset <= 0 or size <= 0:
                break
            return int(offset)
    raise BundleError("this SIF image has no root file system")


def _unpack(path: str, offset: int, place: str) -> None:
    program = shutil.which("unsquashfs")
    if program is None:
        raise BundleError(
            "a SIF image is unpacked by unsquashfs, which is not here: install squashfs-tools, or save the image as an "
            "OCI archive"
        )
    making = tempfile.mkdtemp(prefix=".making-", dir=os.path.dirname(place))
    root = os.path.join(making, "root")
    try:
        done = subprocess.run(
            [program, "-no-progress", "-no-xattrs", "-ignore-errors", "-offset", str(offset), "-dest", root, path],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_UNPACKING_S,
            check=False,
        )  # fmt: skip
        if not os.path.isdir(root):
            last = done.stderr.decode(errors="backslashreplace").strip().rpartition("\n")[2]
            raise BundleError(f"unsquashfs could not unpack it: {last or done.returncode}")
        os.chmod(root, 0o755)
        try:
            os.rename(root, place)
        except OSError:
            if not os.path.isdir(place):
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
