"""What a parent offers to keep of a job's output.  Pure."""

from __future__ import annotations

import msgspec

from gproc.wire.branch import ByteCount, Number


class MergeOffer(msgspec.Struct, frozen=True, array_like=True):
    """The parent keeps the last so many bytes of a job's output that come over this link, so that `SameOutput` may
    refer to them.  epoch: differs from those of all its offers before.  announce: it answers `AnnounceOutput`."""

    epoch: Number
    bytes: ByteCount
    announce: bool = False
