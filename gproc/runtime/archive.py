"""The runtime as an archive: a tar file of directories and plain files, compressed by gzip.  Pure.

The same files give the same bytes.  It holds no link, no owner and no time, and names of at most 100 characters: what
the static helper unpacks, native/untar.h.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Mapping

import msgspec


class Content(msgspec.Struct, frozen=True):
    """A file of a runtime."""

    data: bytes
    executable: bool = False


def archive_of(files: Mapping[str, Content]) -> bytes:
    """files: by path, relative to the runtime's root."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        directories = {parent for path in files for parent in _parents(path)}
        for path in sorted(directories | set(files)):
            header = tarfile.TarInfo(path)
            header.mode = 0o755
            if path in directories:
                header.type = tarfile.DIRTYPE
                archive.addfile(header)
            else:
                file = files[path]
                header.size = len(file.data)
                header.mode = 0o755 if file.executable else 0o644
                archive.addfile(header, io.BytesIO(file.data))
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)  # 31: in gzip's frame, which has no time or name here
    return packer.compress(plain.getvalue()) + packer.flush()


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
