"""Applies the layers of an image, one over the other, in a directory of the user's own.

A layer is a tar file.  It can make files, directories and links below the directory, and nothing elsewhere: no part of
a name is "..", and a link on the way to a name is followed inside the directory alone, as the image's own programs
would see it.  Devices, FIFOs and sockets are left out, as are owners, set-id bits and extended attributes: a user has
no right to make them, and no bundle carries them.

OCI Image Format Specification 1.1, layer.md: `.wh.NAME` removes NAME of the layers below, `.wh..wh..opq` all that they
have in its directory.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from typing import Final, Protocol

from gproc.content.manifest import PATH_BYTES_MAX
from gproc.errors import BundleError
from gproc.shown import shown

ENTRIES_MAX: Final = 1_000_000
"""The limit for all layers together; an image of a whole desktop has 400,000 entries."""

BYTES_MAX: Final = 64 << 30
"""The limit for all files of all layers together."""

HEADER_BYTES_MAX: Final = 1 << 20
"""The limit of an extended header, which holds names and attributes of one file."""

LINKS_MAX: Final = 40
"""Links in one path before ELOOP: path_resolution(7)."""

PARTS_MAX: Final = 256

COPY_BYTES: Final = 1 << 20
_ZEROS: Final = bytes(COPY_BYTES)

_WHITEOUT: Final = b".wh."
_OPAQUE: Final = b".wh..wh..opq"
_META: Final = b".wh..wh."

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

NameParts = tuple[bytes, ...]


class LayerStream(Protocol):
    """What is read once, from its beginning to its end; b"" is the end."""

    def read(self, size: int, /) -> bytes: ...


class _BoundedHeader(tarfile.TarInfo):
    """Reads no extended header that is too long: tarfile would hold it in memory, whatever length it says."""

    def _proc_member(self, file: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED and self.size > HEADER_BYTES_MAX:
            raise BundleError(f"an extended header of {self.size} bytes")
        member: tarfile.TarInfo = super()._proc_member(file)  # type: ignore[misc]
        return member


_EXTENDED: Final = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


class LayeredTree:
    """The files of an image, in the directory `top`, which only this process changes meanwhile."""

    def __init__(self, top: str) -> None:
        self._top = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._entries = 0
        self._bytes = 0
        self._made: set[NameParts] = set()
        """What the present layer has, and the directories that it has something in: whiteouts are about those below."""
        self._times: dict[NameParts, int] = {}

    def close(self) -> None:
        os.close(self._top)

    def apply(self, layer: LayerStream) -> None:
        """Apply the next layer, an uncompressed tar file, up to its end.  Raises: BundleError, OSError."""
        self._made.clear()
        self._times.clear()
        try:
            # A stream: nothing is sought, so a header cannot lead the reader elsewhere.
            opened: tarfile.TarFile = tarfile.open(  # type: ignore[call-overload]  # noqa: SIM115 - it needs only `read`
                fileobj=layer, mode="r|", tarinfo=_BoundedHeader, errors="surrogateescape", bufsize=COPY_BYTES
            )
            with opened as members:
                while (member := members.next()) is not None:
                    self._entries += 1
                    if self._entries > ENTRIES_MAX:
                        raise BundleError(f"the image has more than {ENTRIES_MAX} entries")
                    self._take(members, member)
                    members.members.clear()  # type: ignore[attr-defined]  # it would keep them all
        except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
            raise BundleError(f"a layer of the image is no tar file that can be read: {error}") from error
        for parts, mtime_ns in reversed(self._times.items()):
            if self._kind(parts) == stat.S_IFDIR:
                os.utime(_joined(parts), ns=(mtime_ns, mtime_ns), dir_fd=self._top, follow_symlinks=False)

    def _take(self, members: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = parts_of(os.fsencode(member.name))
        if not parts:
            return  # the root directory itself
        parent = self._directory(parts[:-1])
        name = parts[-1]
        if name == _OPAQUE:
            self._clear(parent)
            return
        if name.startswith(_META):
            return  # what aufs keeps for itself
        if name.startswith(_WHITEOUT):
            self._white_out(parent, name.removeprefix(_WHITEOUT))
            return
        place = (*parent, name)
        if member.isdir():
            self._make_directory(place, member)
        elif member.issparse():
            raise BundleError(f"{shown(_joined(place))} has holes, which no layer of an image may have")
        elif member.isreg():
            self._make_file(members, place, member)
        elif member.issym():
            self._remove(place)
            target = os.fsencode(member.linkname)
            if not 0 < len(target) <= PATH_BYTES_MAX or b"\0" in target:
                raise BundleError(f"{shown(_joined(place))} is a link with an impossible target")
            os.symlink(target, _joined(place), dir_fd=self._top)
        elif member.islnk():
            self._make_hard_link(place, parts_of(os.fsencode(member.linkname)))
        else:
            return  # a device, a FIFO
        for length in range(1, len(place) + 1):
            self._made.add(place[:length])

    def _make_directory(self, place: NameParts, member: tarfile.TarInfo) -> None:
        if self._kind(place) != stat.S_IFDIR:
            self._remove(place)
            os.mkdir(_joined(place), 0o700, dir_fd=self._top)
        # Its owner must be able to read it, and the next layer to write to it.
        os.chmod(_joined(place), member.mode & 0o777 | 0o700, dir_fd=self._top)
        self._times[place] = _nanoseconds(member)

    def _make_file(self, members: tarfile.TarFile, place: NameParts, member: tarfile.TarInfo) -> None:
        self._bytes += member.size
        if self._bytes > BYTES_MAX:
            raise BundleError(f"the image has more than {BYTES_MAX >> 30} GiB")
        self._remove(place)
        content = members.extractfile(member)
        assert content is not None
        file = os.open(_joined(place), _NEW, 0o600, dir_fd=self._top)
        try:
            left = member.size
            while left:
                data = content.read(min(COPY_BYTES, left))
                if not data:
                    raise BundleError(f"{shown(_joined(place))} is cut short")
                left -= len(data)
                if data == _ZEROS[: len(data)]:
                    os.lseek(file, len(data), os.SEEK_CUR)  # a hole: large files of zeros cost no writes
                    continue
                view = memoryview(data)
                while view:
                    view = view[os.write(file, view) :]
            os.ftruncate(file, member.size)
            os.fchmod(file, member.mode & 0o777 | 0o400)
            os.utime(file, ns=(_nanoseconds(member), _nanoseconds(member)))
        finally:
            os.close(file)

    def _make_hard_link(self, place: NameParts, target: NameParts) -> None:
        if not target:
            raise BundleError(f"{shown(_joined(place))} is another name of nothing")
        source = (*self._directory(target[:-1]), target[-1])
        if source == place:
            return
        if self._kind(source) not in (stat.S_IFREG, stat.S_IFLNK):
            raise BundleError(f"{shown(_joined(place))} is another name of a file that is not there")
        self._remove(place)
        os.link(_joined(source), _joined(place), src_dir_fd=self._top, dst_dir_fd=self._top, follow_symlinks=False)

    def _directory(self, parts: NameParts) -> NameParts:
        """The real directory that these parts lead to, inside the tree; it is made if it is missing.

        Raises: BundleError if something else is there.
        """
        real: list[bytes] = []
        todo = list(reversed(parts))
        links = 0
        while todo:
            part = todo.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":  # of a link's target: the root is its own parent
                del real[-1:]
                continue
            here = (*real, part)
            kind = self._kind(here)
            if kind == stat.S_IFLNK:
                links += 1
                target = os.readlink(_joined(here), dir_fd=self._top)
                if links > LINKS_MAX or len(todo) > PARTS_MAX:
                    raise BundleError(f"{shown(_joined(parts))}: its links do not come to an end")
                if target.startswith(b"/"):
                    real.clear()
                todo += reversed(target.split(b"/"))
                continue
            if kind not in (0, stat.S_IFDIR):
                raise BundleError(f"{shown(_joined(here))} is a file, and something lies below it")
            if not kind:
                os.mkdir(_joined(here), 0o755, dir_fd=self._top)
                self._made.add(here)
            real.append(part)
            if len(real) > PARTS_MAX:
                raise BundleError(f"more than {PARTS_MAX} directories lie in one another")
        return tuple(real)

    def _white_out(self, parent: NameParts, name: bytes) -> None:
        if name in (b"", b".", b".."):
            raise BundleError(f"{shown(_joined((*parent, name)))}: a whiteout of no name")
        place = (*parent, name)
        if place not in self._made:
            self._remove(place)

    def _clear(self, directory: NameParts) -> None:
        """Remove all that the layers below have in a directory."""
        for name in self._names(directory):
            place = (*directory, name)
            if place not in self._made:
                self._remove(place)
            elif self._kind(place) == stat.S_IFDIR:
                self._clear(place)

    def _names(self, directory: NameParts) -> list[bytes]:
        handle = os.open(_joined(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._top)
        try:
            return list(map(os.fsencode, os.listdir(handle)))
        finally:
            os.close(handle)

    def _remove(self, place: NameParts) -> None:
        kind = self._kind(place)
        if kind == stat.S_IFDIR:
            shutil.rmtree(_joined(place), dir_fd=self._top)
        elif kind:
            os.unlink(_joined(place), dir_fd=self._top)

    def _kind(self, place: NameParts) -> int:
        """The type of what is there, 0 if nothing is.  All parts but the last are real directories."""
        try:
            return stat.S_IFMT(os.stat(_joined(place), dir_fd=self._top, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return 0


def parts_of(name: bytes) -> NameParts:
    """The parts of a name in a tar file, below the top.  Raises: BundleError for one that leads elsewhere."""
    if len(name) > PATH_BYTES_MAX or b"\0" in name:
        raise BundleError(f"{shown(name[:100])}: the name of a file in the image is no path")
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in parts or len(parts) > PARTS_MAX:
        raise BundleError(f"{shown(name[:100])}: the name of a file in the image leads out of it, or too deep")
    return parts


def _joined(parts: NameParts) -> bytes:
    return b"/".join(parts) or b"."


def _nanoseconds(member: tarfile.TarInfo) -> int:
    return min(max(0, int(member.mtime)), 1 << 33) * 1_000_000_000
