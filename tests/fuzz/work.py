"""Decoders of what is worked on: lists of tasks and what nodes report of them, and programs' images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from gproc.bundle.containers.oci import (
    Blob,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    Platform,
    RootFs,
    SavedImage,
    blob_path,
    chosen,
    read_json,
)
from gproc.errors import BundleError, PeerError
from gproc.request.outcome import Returned
from gproc.wire.tasks import (
    Assign,
    Recall,
    Setup,
    TaskEnded,
    TaskOrder,
    TaskOrderReader,
    TaskReportReader,
    TaskSaid,
    TasksReady,
    TasksReturned,
    order_record,
    report_record,
)
from tests.fuzz.target import Target

DIGEST: Final = "sha256:" + "0a" * 32

BLOB: Final = Blob(DIGEST, 7, "application/vnd.oci.image.manifest.v1+json", Platform("amd64", "linux"))


def _read(reader: Callable[[], TaskOrderReader | TaskReportReader], data: bytes) -> None:
    """What is read is the same however the stream was cut: the first byte says where."""
    whole = list(reader().feed(data[1:]))
    apart = reader()
    cut = 1 + data[0] % len(data) if data else 0
    assert [*apart.feed(data[1:cut]), *apart.feed(data[max(1, cut):])] == whole


def _image(data: bytes) -> None:
    """Each of an image's JSON files, whichever this is."""
    for kind in (ImageIndex, ImageManifest, ImageConfig, list[SavedImage]):
        try:
            read = read_json(data, kind, "it")
        except BundleError:
            continue
        if isinstance(read, ImageIndex):
            blob_path(chosen(read.manifests, "", "x86_64").digest)
        elif isinstance(read, ImageManifest):
            for blob in (read.config, *read.layers):
                blob_path(blob.digest)


WORK: Final = {
    "task orders": Target(
        lambda data: _read(lambda: TaskOrderReader(1), data), (PeerError,),
        (
            b"\5" + order_record(Setup(2, 9.0)) + order_record(Assign((TaskOrder(1, (b"a", b"b c")),)), 1)
            + order_record(Recall(), 2),
        ),
    ),
    "task reports": Target(
        lambda data: _read(TaskReportReader, data), (PeerError,),
        (
            b"\7" + report_record(TasksReady(2)) + report_record(TaskSaid(1, 1, b"x\n"))
            + report_record(TaskEnded(1, 1, Returned(3), 0.5)) + report_record(TasksReturned((4, 5), True)),
        ),
    ),
    "image": Target(
        _image, (BundleError,),
        (
            msgspec.json.encode(ImageIndex((BLOB,))), msgspec.json.encode(ImageManifest(BLOB, (BLOB,))),
            msgspec.json.encode(ImageConfig(RootFs((DIGEST,)))),
            msgspec.json.encode([SavedImage("a.json", ("a/layer.tar",), ("x:1",))]),
        ),
    ),
}  # fmt: skip
