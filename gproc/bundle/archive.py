"""A bundle as a tar file.  The same bundle always gives the same bytes."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from typing import BinaryIO

from gproc.content.manifest import Digest, Directory, Entry, File, Manifest, Symlink
from gproc.disk.special import is_written_in_place
from gproc.disk.whole import written_whole
from gproc.errors import BundleError

Read = Callable[[Digest], bytes]
"""Returns a chunk's bytes; raises BundleError if they can no longer be read."""


def write_file(manifest: Manifest, read: Read, path: str) -> None:
    """Write the tar file at path, complete or not at all; to a device or a pipe as it comes.

    Raises: BundleError if the path cannot be written, or a file has changed since it was packed.
    """
    try:
        seekable = not is_written_in_place(path)
        with written_whole(path) as file:
            write(manifest, read, file, seekable=seekable)
    except BrokenPipeError:
        raise  # the reader of our standard output has gone
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from error


def write(manifest: Manifest, read: Read, file: BinaryIO, *, seekable: bool = True) -> None:
    """Write the entries in the manifest's order; names are relative to the root, users unnamed, links have mtime 0."""
    # GNU, not PAX: its headers hold only the entry, and keep names that are not UTF-8.
    with tarfile.open(
        fileobj=file, mode="w" if seekable else "w|", format=tarfile.GNU_FORMAT, encoding="utf-8",
        errors="surrogateescape",
    ) as archive:  # fmt: skip
        for entry in manifest.entries:
            header = _header(entry)
            if isinstance(entry, File):
                archive.addfile(header, _Chunks(entry, read))
            else:
                archive.addfile(header)


def _header(entry: Entry) -> tarfile.TarInfo:
    header = tarfile.TarInfo(os.fsdecode(entry.path.lstrip(b"/")))
    match entry:
        case File():
            header.size, header.mtime = entry.size_bytes, entry.mtime_ns // 1_000_000_000
            header.mode, header.uid, header.gid = entry.mode, entry.uid, entry.gid
        case Directory():
            header.type = tarfile.DIRTYPE
            header.mode, header.uid, header.gid = entry.mode, entry.uid, entry.gid
        case Symlink():
            header.type = tarfile.SYMTYPE
            header.linkname, header.mode = os.fsdecode(entry.target), 0o777
    return header


class _Chunks(io.RawIOBase):
    """A file of the bundle, read chunk by chunk."""

    def __init__(self, file: File, read: Read) -> None:
        self._read = read
        self._digests = file.chunks()
        self._left = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        parts = [self._left]
        length = len(self._left)
        while size < 0 or length < size:
            chunk = next(self._digests, None)
            if chunk is None:
                break
            parts.append(self._read(chunk[0]))
            length += len(parts[-1])
        data = b"".join(parts)
        cut = len(data) if size < 0 else size
        self._left = data[cut:]
        return data[:cut]
