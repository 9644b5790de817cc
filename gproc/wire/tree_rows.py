"""Parts of what the master says of the tree.  Pure."""

from __future__ import annotations

import msgspec

from gproc.wire.branch import ByteCount, Number, Seconds, UnixTime


class NodeDrained(msgspec.Struct, frozen=True, array_like=True):
    """Why a node takes no new jobs.  since_s: Unix time.  uid: the user who said so.  reason: in that user's words."""

    since_s: UnixTime
    uid: Number
    reason: str


class MasterCounts(msgspec.Struct, frozen=True, array_like=True):
    """What the master has done since it began.

    jobs: begun; refused: not begun; programs: begun with a program or files to send.  transfers: of programs and files
    that the master did not have, and their seconds in all.  faults: as of `gproc i --events`.  Bytes of the connections
    to clients and to the nodes below the master, without TLS.
    """

    jobs: ByteCount = 0
    refused: ByteCount = 0
    programs: ByteCount = 0
    transfers: ByteCount = 0
    transfer_s: Seconds = 0.0
    faults: ByteCount = 0
    from_clients_bytes: ByteCount = 0
    to_clients_bytes: ByteCount = 0
    from_nodes_bytes: ByteCount = 0
    to_nodes_bytes: ByteCount = 0
