"""What a bundle holds, as a value: the same on the front end, on every relay and on every node.  Pure.

Paths are absolute, normalised bytes as the kernel has them ("/usr/bin/date"), relative to the root they will
be laid out under.  Files are cut into chunks of `CHUNK_BYTES`, each named by the BLAKE3 digest of its bytes;
the digest of a manifest is the BLAKE3 digest of its encoded form and names the whole bundle.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Final, NewType, Union

import msgspec
from blake3 import blake3

from gproc.errors import BundleError

Digest = NewType("Digest", bytes)

DIGEST_BYTES: Final = 32
CHUNK_BYTES: Final = 1 << 20
"""Size of every chunk but a file's last."""

PERMISSION_BITS: Final = 0o777
"""The mode bits that a manifest may carry: a set-id or sticky bit never travels."""


ENTRIES_MAX: Final = 1 << 17
"""Files, links and directories of one bundle.  A node lays this many out in some 4 s."""

PATH_BYTES_MAX: Final = 4095
"""PATH_MAX of Linux without its final zero; for a link's target too."""

NAME_BYTES_MAX: Final = 255
"""NAME_MAX of Linux: one part of a path."""

PATH_PARTS_MAX: Final = 128
"""Directories in one another.  A node holds two descriptors for each while it copies a tree."""

DIRECTORIES_MAX: Final = 1024
"""The limit of each list of directories; each directory costs every job some 20 us."""

PathBytes = Annotated[bytes, msgspec.Meta(max_length=PATH_BYTES_MAX)]
UserNumber = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFE)]
"""A uid or gid; chown(2) reads 0xFFFFFFFF as "no change"."""

VersionNumber = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""The time of a file: from 1677 to 2262, see `nanoseconds`."""
Directories = Annotated[tuple[PathBytes, ...], msgspec.Meta(max_length=DIRECTORIES_MAX)]


def nanoseconds(time_ns: int) -> int:
    """The time nearest to that of stat(2) which 64 bits can say: file systems keep times far beyond.

    Files have such times from clocks that are wrong and from archives, and they may be none of the caller's.
    """
    return min(max(time_ns, -(2**63)), 2**63 - 1)


def digest_of(data: bytes | bytearray | memoryview) -> Digest:
    return Digest(blake3(data).digest())


@lru_cache(4)
def zeros_digest(length: int) -> Digest:
    return digest_of(bytes(length))


def is_hole(digest: Digest, length: int) -> bool:
    """Whether a chunk is whole and of zeros.  No store writes it, so no node is sent it."""
    return length == CHUNK_BYTES and digest == zeros_digest(CHUNK_BYTES)


def chunks_of(content: bytes) -> Iterator[tuple[Digest, bytes]]:
    """The chunks of a file that has this content, each with its name."""
    for at in range(0, len(content), CHUNK_BYTES):
        chunk = content[at : at + CHUNK_BYTES]
        yield digest_of(chunk), chunk


class Directory(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    path: PathBytes
    mode: int
    uid: UserNumber
    gid: UserNumber


class Symlink(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    path: PathBytes
    target: PathBytes


class File(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """A regular file; `digests` is the concatenation of its chunks' digests, empty for an empty file."""

    path: PathBytes
    mode: int
    uid: UserNumber
    gid: UserNumber
    size_bytes: Number
    mtime_ns: Nanoseconds
    digests: bytes

    def chunks(self) -> Iterator[tuple[Digest, int, int]]:
        """Each chunk as (digest, offset in the file, length), in order."""
        for index in range(len(self.digests) // DIGEST_BYTES):
            offset = index * CHUNK_BYTES
            digest = self.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]
            yield Digest(digest), offset, min(CHUNK_BYTES, self.size_bytes - offset)


Entry = Union[Directory, Symlink, File]  # noqa: UP007 - msgspec wants it so on 3.11


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """A bundle.

    program: path of what is executed: an ELF program or a script.
    loader: PT_INTERP of the ELF program that the kernel finally runs; b"" if that is static.
    library_dirs: the directories that this loader searches, in its order, when the bundle runs without a view.
    code_dirs: the directories that hold shipped programs or libraries.  A view makes unions of these.
    glibc: paths of the entries that belong to glibc itself.  They are only valid together, as a set.
    glibc_version: of that set, as (2, 41); (0, 0) if the bundle has no glibc.
    entries: parents before children; every parent directory of every entry is present.
    configured_dirs: those of library_dirs in which a node's loader would not find what is shipped: named by -L or
        ld.so.conf, or no code_dirs (/tmp).  In a view, LD_LIBRARY_PATH must name them, below binRoot.
    fixed: files and directories among these entries that the program opens by their own paths, for example the library
        of an interpreter: without a view it does not find them.
    yielding: files that appear at their own paths only on a node that has none of its own there.
    """

    program: PathBytes
    loader: PathBytes
    library_dirs: Directories
    code_dirs: Directories
    glibc: Directories
    glibc_version: tuple[VersionNumber, VersionNumber]
    entries: Annotated[tuple[Entry, ...], msgspec.Meta(max_length=ENTRIES_MAX)]
    configured_dirs: Directories = ()
    fixed: Directories = ()
    yielding: Directories = ()

    def files(self) -> Iterator[File]:
        for entry in self.entries:
            if isinstance(entry, File):
                yield entry

    def links(self) -> Iterator[Symlink]:
        for entry in self.entries:
            if isinstance(entry, Symlink):
                yield entry

    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files())

    def stored_bytes(self) -> int:
        """What a store keeps of it: all but whole chunks of zeros, which are holes there."""
        long = (file for file in self.files() if file.size_bytes >= CHUNK_BYTES)
        chunks = (chunk for file in long for chunk in file.chunks())
        return self.size_bytes() - sum(size for digest, _, size in chunks if is_hole(digest, size))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Manifest)


def encode(manifest: Manifest) -> bytes:
    return _encoder.encode(manifest)


def decode(data: bytes | memoryview) -> Manifest:
    """The manifest, checked: nothing in it can name a place outside its root, and it keeps to the bounds above.

    Raises: BundleError naming the first wrong entry.
    """
    try:
        manifest = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The last two are msgspec's for text that is not UTF-8, and for what lies a thousand levels deep.
        raise BundleError(f"not a manifest: {error}") from error
    check(manifest)
    return manifest


def check(manifest: Manifest) -> None:
    """Hold a manifest against its contract; it may come from a hostile client.

    Raises: BundleError naming the first wrong entry.
    """
    for name, named in (
        ("code", manifest.code_dirs), ("library", manifest.library_dirs),
        ("configured library", manifest.configured_dirs), ("glibc", manifest.glibc), ("fixed", manifest.fixed),
        ("yielding", manifest.yielding),
    ):  # fmt: skip
        if len(set(named)) != len(named):
            raise BundleError(f"manifest: a {name} path stands twice")
        if wrong := [path for path in named if path and not is_normal(path)]:
            raise BundleError(f"manifest: {wrong[0]!r} is not an absolute, normalised path")
    directories = {b"/"}
    seen = {b"/"}
    for entry in manifest.entries:
        path = entry.path
        if not is_normal(path):
            raise BundleError(f"manifest: {path!r} is not an absolute, normalised path")
        if path in seen:
            raise BundleError(f"manifest: {path!r} stands twice")
        seen.add(path)
        if path.rpartition(b"/")[0] not in directories and path.count(b"/") > 1:
            raise BundleError(f"manifest: the directory of {path!r} is not an entry before it")
        match entry:
            case Directory():
                directories.add(path)
                _check_mode(path, entry.mode)
            case File():
                _check_mode(path, entry.mode)
                chunks = -(-entry.size_bytes // CHUNK_BYTES)
                if entry.size_bytes < 0 or len(entry.digests) != chunks * DIGEST_BYTES:
                    raise BundleError(f"manifest: {path!r} has {len(entry.digests)} bytes of digests")
            case Symlink():
                if not entry.target or b"\0" in entry.target:
                    raise BundleError(f"manifest: {path!r} is a link to nothing")
    for path in (manifest.program, *manifest.glibc):
        if path and path not in seen:
            raise BundleError(f"manifest: {path!r} is named but not an entry")


def is_normal(path: bytes) -> bool:
    """Whether this is an absolute path without empty parts, "." and "..", that the kernel takes; "/" is none."""
    if not path.startswith(b"/") or b"\0" in path or path == b"/" or len(path) > PATH_BYTES_MAX:
        return False
    parts = path[1:].split(b"/")
    if len(parts) > PATH_PARTS_MAX or (len(path) > NAME_BYTES_MAX and max(map(len, parts)) > NAME_BYTES_MAX):
        return False
    return b"" not in parts and b"." not in parts and b".." not in parts


def _check_mode(path: bytes, mode: int) -> None:
    if mode & ~PERMISSION_BITS or mode < 0:
        raise BundleError(f"manifest: {path!r} has mode {mode:o}: more than permission bits")


def trusted(data: bytes) -> Manifest:
    """Decode what this process, or its own cache, has encoded; it is not checked again."""
    return _decoder.decode(data)
