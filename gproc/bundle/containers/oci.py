"""What an image says of itself: the JSON of an OCI layout, and of what `docker save` writes, as values.  Pure.

OCI Image Format Specification 1.1: image-layout.md, image-index.md, manifest.md, config.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final, TypeVar

import msgspec

from gproc.errors import BundleError
from gproc.shown import shown_text

JSON_BYTES_MAX: Final = 4 << 20
"""The most that registries take of a manifest: distribution-spec."""

LAYERS_MAX: Final = 256
"""Docker's own storage allows 127."""

_NESTED_MAX: Final = 4
"""Indexes in one another."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")

_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_NAME: Final = "org.opencontainers.image.ref.name"

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$")]

T = TypeVar("T")


class Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""


class Blob(msgspec.Struct, frozen=True, rename={"media_type": "mediaType"}):
    """A descriptor: descriptor.md."""

    digest: Sha256
    size: Annotated[int, msgspec.Meta(ge=0)]
    media_type: str = ""
    platform: Platform | None = None
    annotations: dict[str, str] = {}


class ImageIndex(msgspec.Struct, frozen=True):
    manifests: Annotated[tuple[Blob, ...], msgspec.Meta(max_length=4096)] = ()


class ImageManifest(msgspec.Struct, frozen=True):
    config: Blob
    layers: Annotated[tuple[Blob, ...], msgspec.Meta(max_length=LAYERS_MAX)] = ()


class RootFs(msgspec.Struct, frozen=True):
    diff_ids: Annotated[tuple[Sha256, ...], msgspec.Meta(max_length=LAYERS_MAX)] = ()


class ImageConfig(msgspec.Struct, frozen=True):
    rootfs: RootFs = RootFs()


class SavedImage(msgspec.Struct, frozen=True, rename={"config": "Config", "tags": "RepoTags", "layers": "Layers"}):
    """An entry of the manifest.json of `docker save`."""

    config: str
    layers: Annotated[tuple[str, ...], msgspec.Meta(max_length=LAYERS_MAX)]
    tags: tuple[str, ...] | None = None


def read_json(data: bytes, kind: type[T], what: str) -> T:
    """Raises: BundleError."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{what} is not what an image has there: {shown_text(str(error))}") from error


def is_index(blob: Blob) -> bool:
    return blob.media_type in _INDEXES


def chosen(blobs: Sequence[Blob], name: str, machine: str) -> Blob:
    """The one of several images that is meant.  name: its tag; "": the only one for this machine.

    Raises: BundleError.
    """
    if name:
        found = [blob for blob in blobs if names_match(blob.annotations.get(_NAME, ""), name)]
    else:
        found = [blob for blob in blobs if fits(blob, machine)]
    found = list({blob.digest: blob for blob in found}.values())
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted({shown_text(blob.annotations.get(_NAME, blob.digest)) for blob in blobs})) or "none"
    if not found:
        wanted = f"named {shown_text(name)}" if name else f"for this machine ({machine})"
        raise BundleError(f"no image {wanted} is there; there are: {names}")
    raise BundleError(f"several images are there: say which by --image PATH:NAME; there are: {names}")


def fits(blob: Blob, machine: str) -> bool:
    """Whether it is for this machine, by what its descriptor says; attestations say "unknown"."""
    platform = blob.platform
    if platform is None:
        return True
    return platform.os in ("linux", "") and platform.architecture in ("", ARCHITECTURES.get(machine, machine))


def names_match(said: str, name: str) -> bool:
    """A tag, with or without the repository's name before it."""
    return said == name or said.rpartition(":")[2] == name


ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "ppc64le": "ppc64le"}
"""Machines by uname(2), as Go calls them."""


def checked_depth(depth: int) -> int:
    """Raises: BundleError if indexes lie too deep in one another."""
    if depth > _NESTED_MAX:
        raise BundleError(f"more than {_NESTED_MAX} indexes of images lie in one another")
    return depth


def blob_path(digest: str) -> str:
    """Where a layout has it."""
    if not _DIGEST.fullmatch(digest):
        raise BundleError(f"{shown_text(digest)} is no digest that gproc knows: sha256 is wanted")
    return "blobs/sha256/" + digest.removeprefix("sha256:")
