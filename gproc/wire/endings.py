"""What is said of a job's end between nodes: each of these is signed, because a relay could gain by changing it.  Pure.

They are like the messages of `gproc.wire.messages`, whose tags they share.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from gproc.wire import frames
from gproc.wire.branch import ByteCount, Number
from gproc.wire.messages import Message, Rank, Reason, Signed
from gproc.wire.tags import tag_of

END_BYTES_MAX: Final = 64 << 10
"""What a node signs of a program's end: a reason with a path of PATH_MAX, all of it escaped, takes some 16 kB."""

GONE_BYTES_MAX: Final = 1 << 48
"""More than any node can have said; all of a job together fit a record."""

Signature = Annotated[bytes, msgspec.Meta(max_length=frames.SIGNATURE_BYTES)]


class RankEnded(Message, frozen=True, tag=tag_of):
    """The program of one rank has ended, and all of its output was sent before this.

    signed: how it ended, by the node that ran it: `gproc.trust.outcomes`.
    None: the job did not get to that node; `reason` says why, as a node above it has said.
    """

    job: Number
    rank: Rank
    signed: Signed | None
    reason: Reason = ""

    def __post_init__(self) -> None:
        if self.signed is not None and len(self.signed.payload) + len(self.signed.signature) > END_BYTES_MAX:
            raise ValueError(f"an end of {len(self.signed.payload)} bytes")


class Acknowledged(Message, frozen=True, tag=tag_of):
    """The master has all of this stream of this rank up to so many bytes: the node need not keep them.

    signature: the master's, over `"gproc acknowledgement\\0"`, the session, the nonce of the node, the job (u64), the
    stream (u8) and the bytes (u64).
    """

    job: Number
    rank: Rank
    stream: Annotated[int, msgspec.Meta(ge=frames.STDOUT, le=frames.FILES)]
    bytes: ByteCount
    signature: Signature = b""


class OutputGone(Message, frozen=True, tag=tag_of):
    """The node does not have this stream of its rank before so many bytes any more: a master has acknowledged them.

    It answers a Run that asks for them.  signature: of the node's run, over `"gproc output gone\\0"`, the session, the
    job (u64), the rank (u32), the stream (u8) and the bytes (u64).
    """

    job: Number
    rank: Rank
    stream: Annotated[int, msgspec.Meta(ge=frames.STDOUT, le=frames.STDERR)]
    bytes: Annotated[int, msgspec.Meta(ge=1, le=GONE_BYTES_MAX)]
    signature: Signature = b""


class Release(Message, frozen=True, tag=tag_of):
    """The job is over everywhere: a node that kept anything for it lets go.

    signature: the master's, over `"gproc release\\0"`, the session and the job (u64).
    """

    job: Number
    signature: Signature = b""
