"""Output that several nodes have alike goes over a link once: what a child says instead of sending it again.  Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gproc.wire import frames
from gproc.wire.branch import ByteCount, Number
from gproc.wire.messages import Message, Rank
from gproc.wire.tags import tag_of


class SameOutput(Message, frozen=True, tag=tag_of):
    """Stands for a STDIO frame: these bytes of `rank` are those that rank `of` has at the same offset of that stream.

    The sender has sent those in one STDIO frame on this link, after the Run that offered it, and among the last bytes
    that the receiver keeps.  epoch: of that offer.
    """

    job: Number
    rank: Rank
    stream: Annotated[int, msgspec.Meta(ge=frames.STDOUT, le=frames.FILES)]
    offset: ByteCount
    size: Annotated[int, msgspec.Meta(ge=1, le=frames.MAX_STDIO_BYTES)]
    of: Rank
    epoch: Number
