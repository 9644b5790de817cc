"""What a master keeps of running jobs and of the nodes of its tree, so that the next one can go on after a crash.

The rest of a job is in its record (`gproc.records.record`) and in its spool (`gproc.records.positions`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from gproc.nodespec import Place
from gproc.request.acts import Act
from gproc.trust.signing import Nonce
from gproc.trust.ticket import Ticket
from gproc.wire.messages import NodeInfo, Signed


class KeptRun(msgspec.Struct, frozen=True, array_like=True):
    """The run of a slave that has a rank: its nonce, and the key with which it signs how programs end."""

    nonce: Nonce
    key: bytes


class KeptLife(msgspec.Struct, frozen=True, array_like=True):
    """One running job.

    ticket: as the master has signed it.  runs: by rank; None: its node was not connected when the job began.
    orders: the last ones, for nodes that were not reached by them.  killed: whether one of them is SIGKILL for all.
    block_bytes: the size of the blocks of its standard input.  window_bytes: credit of each of its streams.
    waiting: the ranks that have not had their turn, if it runs on so many nodes at a time.  held: whether none begins.
    """

    ticket: Signed
    runs: tuple[KeptRun | None, ...]
    orders: tuple[tuple[Act, Signed], ...]
    killed: bool
    block_bytes: int
    window_bytes: int
    waiting: tuple[int, ...] = ()
    held: bool = False


class KeptNode(msgspec.Struct, frozen=True, array_like=True):
    """One run of a slave that is in the tree.  key: with which it signs how programs end."""

    place: Place
    info: NodeInfo
    key: bytes


def packed_life(life: KeptLife) -> bytes:
    return _encoder.encode(life)


def packed_node(node: KeptNode) -> bytes:
    return _encoder.encode(node)


def life_in(data: bytes) -> tuple[KeptLife, Ticket]:
    """Raises: ValueError if it is none."""
    life = _life_decoder.decode(data)
    return life, _ticket_decoder.decode(memoryview(life.ticket.payload)[1:])  # the first byte is its version


def node_in(data: bytes) -> KeptNode:
    """Raises: ValueError if it is none."""
    return _node_decoder.decode(data)


_encoder: Final = msgspec.msgpack.Encoder()
_life_decoder: Final = msgspec.msgpack.Decoder(KeptLife)
_ticket_decoder: Final = msgspec.msgpack.Decoder(Ticket)
_node_decoder: Final = msgspec.msgpack.Decoder(KeptNode)
