"""The root file system of an image (`--image`), unpacked once into the user's cache, and then used as with `-r`.

An image is an OCI layout (a directory, or an archive of one, as `podman save --format oci-archive` writes it), an
archive by `docker save` or `podman save`, or a SIF file.  What is read is checked against the digests that name it.  A
tree that is complete gets the name of its image by one rename, so what is in the cache is whole.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Final, Protocol

import msgspec

from gproc.bundle import cache
from gproc.bundle.containers import oci, sif
from gproc.bundle.containers.layers import BYTES_MAX, COPY_BYTES, LayeredTree, LayerStream
from gproc.bundle.containers.oci import Blob, ImageConfig, ImageIndex, ImageManifest, SavedImage, read_json
from gproc.errors import BundleError
from gproc.shown import reason_of, shown_text

MEMBERS_MAX: Final = 1 << 16
"""Files of an archive: a few for each layer of each image in it."""

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MAGIC_BYTES: Final = 4


class Layer(msgspec.Struct, frozen=True):
    """blob: the file of the image that has it.  diff_id: the digest of its uncompressed form.

    digest: of the file; "" if nothing names it.
    """

    blob: str
    diff_id: str
    digest: str = ""


class ImageFiles(Protocol):
    """The files of a layout or an archive."""

    def open(self, name: str) -> IO[bytes] | None:
        """None if there is no such file.  Raises: BundleError, OSError."""


def root_of(image: str, cwd: str, environ: Mapping[str, str]) -> str:
    """The directory with the image's root file system.

    image: a path relative to cwd, and after a colon the name of one of several images there.
    Raises: BundleError.
    """
    path, name = _parted(os.path.join(cwd, image))
    kept = os.path.join(os.path.dirname(cache.default_directory(environ)), "images")
    try:
        os.makedirs(kept, mode=0o700, exist_ok=True)
        if os.stat(kept).st_uid != os.geteuid():
            raise BundleError(f"{kept}: belongs to another user")
        with _opened(path, kept) as files:
            return files if isinstance(files, str) else _unpacked(files, name, kept)
    except (OSError, tarfile.TarError) as error:
        raise BundleError(f"--image {shown_text(image)}: {shown_text(reason_of(error))}") from error
    except BundleError as error:
        raise BundleError(f"--image {shown_text(image)}: {error}") from error


def _parted(path: str) -> tuple[str, str]:
    if os.path.exists(path):
        return path, ""
    # A name may have colons too: registry:5000/app:1.
    for at, character in enumerate(path):
        if character == ":" and os.path.exists(path[:at]):
            return path[:at], path[at + 1 :]
    return path, ""


class _Layout:
    """A directory.  Links in it are the user's own choice."""

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self, name: str) -> IO[bytes] | None:
        path = os.path.join(self._path, name)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would let us wait for ever
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise BundleError(f"{shown_text(name)} is no file")
        return os.fdopen(handle, "rb")


class _Archive:
    """A tar file that is not compressed, whose files are read in any order."""

    def __init__(self, file: IO[bytes]) -> None:
        # It is open as long as the file, which the caller closes.
        try:
            self._archive = tarfile.open(fileobj=file, mode="r:", errors="surrogateescape")  # noqa: SIM115
        except tarfile.ReadError as error:
            kinds = "an OCI layout, an archive of one or of docker save, and SIF are known"
            raise BundleError(f"it is no image: {kinds} (as a tar file: {error})") from error
        self._members: dict[str, tarfile.TarInfo] = {}
        while (member := self._archive.next()) is not None:
            if len(self._members) == MEMBERS_MAX:
                raise BundleError(f"the archive has more than {MEMBERS_MAX} files: it is not one of an image")
            self._members[os.path.normpath(member.name)] = member

    def open(self, name: str) -> IO[bytes] | None:
        for _ in range(2):  # docker save has links among its layers
            member = self._members.get(os.path.normpath(name))
            if member is None:
                return None
            if member.isreg() and not member.issparse():
                return self._archive.extractfile(member)
            name = os.path.join(os.path.dirname(name), member.linkname)
        return None


@contextmanager
def _opened(path: str, kept: str) -> Iterator[ImageFiles | str]:
    """The files of an image; of one in SIF, the directory with its root file system."""
    if os.path.isdir(path):
        if not os.path.exists(os.path.join(path, "oci-layout")):
            raise BundleError("this directory is no OCI layout (it has no oci-layout); -r DIR takes a root file system")
        yield _Layout(path)
        return
    with open(path, "rb") as file:
        magic = file.read(_MAGIC_BYTES)
        if sif.is_sif(file):
            yield sif.root_of(file, path, kept)
            return
        file.seek(0)
        if magic.startswith((_GZIP, _ZSTD)):
            with tempfile.TemporaryFile(dir=kept) as plain:
                _copy(_plain(file), plain)
                plain.seek(0)
                yield _Archive(plain)
        else:
            yield _Archive(file)


def _copy(source: LayerStream, to: IO[bytes]) -> None:
    size = 0
    while data := source.read(COPY_BYTES):
        size += len(data)
        if size > BYTES_MAX:
            raise BundleError(f"the archive has more than {BYTES_MAX >> 30} GiB")
        to.write(data)


def _unpacked(files: ImageFiles, name: str, kept: str) -> str:
    """Raises: BundleError, OSError."""
    if (index := files.open("index.json")) is not None:
        digest, layers = _of_layout(files, _read(index, "index.json"), name)
    elif (saved := files.open("manifest.json")) is not None:
        digest, layers = _of_saved(files, _read(saved, "manifest.json"), name)
    else:
        raise BundleError("it has neither index.json nor manifest.json: it is no image")
    place = os.path.join(kept, digest.removeprefix("sha256:"))
    if not os.path.isdir(place):
        _make(files, layers, place)
    return place


def _of_layout(files: ImageFiles, index: bytes, name: str) -> tuple[str, list[Layer]]:
    """The digest of the image that is meant, and its layers."""
    machine = platform.machine()
    blob = oci.chosen(read_json(index, ImageIndex, "index.json").manifests, name, machine)
    for depth in range(16):
        oci.checked_depth(depth)
        if not oci.is_index(blob):
            break
        nested = read_json(_checked(files, blob), ImageIndex, "an index of images")
        blob = oci.chosen(nested.manifests, "", machine)
    manifest = read_json(_checked(files, blob), ImageManifest, "the image's manifest")
    ids = _diff_ids(_checked(files, manifest.config), len(manifest.layers))
    layers = [
        Layer(oci.blob_path(each.digest), diff_id, each.digest)
        for each, diff_id in zip(manifest.layers, ids, strict=True)
    ]
    return blob.digest, layers


def _of_saved(files: ImageFiles, listed: bytes, name: str) -> tuple[str, list[Layer]]:
    """The same of an archive by `docker save`: its layers are named by the digests of their uncompressed forms."""
    images = read_json(listed, tuple[SavedImage, ...], "manifest.json")
    if name:
        images = tuple(image for image in images if any(oci.names_match(tag, name) for tag in image.tags or ()))
    if len(images) != 1:
        which = " of that name" if name else ""
        raise BundleError(f"it has {len(images)} images{which}: say which by --image PATH:NAME")
    image = images[0]
    opened = files.open(image.config)
    if opened is None:
        raise BundleError(f"{shown_text(image.config)} is missing in it")
    config = _read(opened, image.config)
    digest = "sha256:" + hashlib.sha256(config).hexdigest()
    said = os.path.basename(image.config).removesuffix(".json")
    if len(said) == 64 and f"sha256:{said}" != digest:
        raise BundleError(f"{shown_text(image.config)} is damaged: it does not have the digest that names it")
    ids = _diff_ids(config, len(image.layers))
    return digest, [Layer(blob, diff_id) for blob, diff_id in zip(image.layers, ids, strict=True)]


def _diff_ids(config: bytes, layers: int) -> tuple[str, ...]:
    """The digests of the uncompressed layers, by the image's configuration."""
    ids = read_json(config, ImageConfig, "the image's configuration").rootfs.diff_ids
    if len(ids) != layers:
        raise BundleError(f"it has {layers} layers, and its configuration names {len(ids)}")
    return ids


def _read(file: IO[bytes], what: str) -> bytes:
    with file:
        data = file.read(oci.JSON_BYTES_MAX + 1)
    if len(data) > oci.JSON_BYTES_MAX:
        raise BundleError(f"{shown_text(what)} has more than {oci.JSON_BYTES_MAX >> 20} MiB")
    return data


def _checked(files: ImageFiles, blob: Blob) -> bytes:
    path = oci.blob_path(blob.digest)
    if (file := files.open(path)) is None:
        raise BundleError(f"{path} is missing in it")
    data = _read(file, path)
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != blob.digest:
        raise BundleError(f"{path} is damaged: it does not have the digest that names it")
    return data


def _make(files: ImageFiles, layers: list[Layer], place: str) -> None:
    """Unpack all layers beside `place`, and give the tree that name when every digest was right."""
    making = tempfile.mkdtemp(prefix=".making-", dir=os.path.dirname(place))
    try:
        tree = LayeredTree(making)
        try:
            for layer in layers:
                _apply(tree, files, layer)
        finally:
            tree.close()
        os.chmod(making, 0o755)
        try:
            os.rename(making, place)
        except OSError:
            if not os.path.isdir(place):  # else another gproc was faster
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _apply(tree: LayeredTree, files: ImageFiles, layer: Layer) -> None:
    opened = files.open(layer.blob)
    if opened is None:
        raise BundleError(f"{shown_text(layer.blob)} is missing in it")
    with opened:
        stored = _Hashing(opened)
        stream = _plain(stored)
        # What is not compressed is hashed once.
        plain = _Hashing(stream) if isinstance(stream, _Decompressed) else stored
        tree.apply(plain if plain is not stored else stream)
        # A tar file may be followed by anything: it belongs to the digest too.
        for each in (plain, stored):
            while each.read(COPY_BYTES):
                pass
    if layer.digest not in ("", stored.digest()):
        raise BundleError(f"{shown_text(layer.blob)} is damaged: it does not have the digest that names it")
    if plain.digest() != layer.diff_id:
        wanted = "the layer that the image's configuration names"
        raise BundleError(f"{shown_text(layer.blob)} is damaged: it is not {wanted}")


class _Hashing:
    """Reads a stream, and hashes what it reads."""

    def __init__(self, source: LayerStream) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _plain(stored: LayerStream) -> LayerStream:
    """The stream without its compression, by its first bytes."""
    ahead = io.BufferedReader(_Readable(stored), COPY_BYTES)
    magic = ahead.peek(_MAGIC_BYTES)[:_MAGIC_BYTES]
    if magic.startswith(_GZIP):
        import gzip
        import zlib

        return _Decompressed(gzip.GzipFile(fileobj=ahead), zlib.error)
    if magic == _ZSTD:
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=128 << 20)
        return _Decompressed(decompressor.stream_reader(ahead, read_across_frames=True), zstandard.ZstdError)
    return ahead


class _Decompressed:
    def __init__(self, source: LayerStream, fault: type[Exception]) -> None:
        self._source = source
        self._fault = fault

    def read(self, size: int, /) -> bytes:
        try:
            return self._source.read(size)
        except (EOFError, OSError, self._fault) as error:
            raise BundleError(f"its compression is damaged: {shown_text(reason_of(error))}") from error


class _Readable(io.RawIOBase):
    """What BufferedReader reads from."""

    def __init__(self, source: LayerStream) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
