"""What the master signs once a job runs: its input, orders for it, what it has of its output; and the end of the tree.

In this, a node obeys only the master.  A relay that passes them on can drop them or hold them back, and nothing more:
each
block of input is bound to its place in the stream, each order to its number, and both to the job and the session.
Messages that let a node drop something are signed too: that the master has output up to a byte, and that a job is over.

Input is signed in blocks: a BLAKE3 digest of the data, and one signature of the digest.  A MiB costs each end some
0.2 ms for the digest, and each block 0.02 ms to sign and 0.06 ms to check.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import msgspec
from blake3 import blake3

from gproc.request.acts import Act
from gproc.trust.signing import Context, Keys, Sequence, Session, Signer, TicketRefused, check_signature, opened
from gproc.wire.endings import Acknowledged, Release
from gproc.wire.frames import InputBlock
from gproc.wire.messages import Signed

_PLACE_IN_STREAM: Final = struct.Struct("!QQ")
_TAKEN: Final = struct.Struct("!QBQ")
_JOB: Final = struct.Struct("!Q")


ORDERS_OF_MASTER: Final = 1 << 32
"""More than one master gives for a job.  2**31 masters of a session have numbers for their orders."""


class Order(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One order for one job.  number: rises with each order of the job."""

    session: Session
    job: Sequence
    number: Sequence
    act: Act


class TreeEnds(msgspec.Struct, frozen=True, array_like=True):
    """The master has ended: so does every node of its session."""

    session: Session


class StaleOrder(TicketRefused):
    """An order whose number is not above that of an order before it."""

    def __init__(self, job: int, number: int, last: int) -> None:
        super().__init__(job, number, last)
        self.job = job
        self.number = number
        self.last = last

    def __str__(self) -> str:
        return f"a replayed order for job {self.job}: number {self.number} comes after number {self.last}"


class ForAnotherJob(TicketRefused):
    """An order that was signed for another job, or in another session."""

    def __init__(self, meant: int, came_as: int) -> None:
        super().__init__(meant, came_as)
        self.meant = meant
        self.came_as = came_as

    def __str__(self) -> str:
        return f"an order for job {self.meant} that came as one for job {self.came_as}"


class JobSigner:
    """Signs for one running job, in the master."""

    def __init__(self, signer: Signer, session: bytes, job: int, masters_before: int = 0) -> None:
        """masters_before: how many masters of this session have crashed: orders of each have higher numbers."""
        self.session = session
        self._signer = signer
        self._job = job
        self._number = masters_before * ORDERS_OF_MASTER
        self._offset_bytes = 0

    def order(self, act: Act) -> Signed:
        self._number += 1
        return self._signer.sign(Context.ORDER, Order(self.session, self._job, self._number, act))

    def block(self, data: bytes) -> InputBlock:
        """The next block of its standard input; b"" is the end."""
        offset = self._offset_bytes
        self._offset_bytes += len(data)
        signed = _block(self.session, self._job, offset, data)
        return InputBlock(offset, self._signer.sign_bytes(Context.INPUT, signed), data)

    def repeat(self, offset: int, data: bytes) -> InputBlock:
        """A block that a former master has signed; the next one comes after it."""
        self._offset_bytes = offset + len(data)
        return self.sign_again(InputBlock(offset, b"", data))

    def sign_again(self, block: InputBlock) -> InputBlock:
        """A block that was signed by another key."""
        signed = _block(self.session, self._job, block.offset, block.data)
        return block._replace(signature=self._signer.sign_bytes(Context.INPUT, signed))

    def acknowledgement(self, rank: int, nonce: bytes, stream: int, offset_bytes: int) -> Acknowledged:
        """The master has this much of this stream.  nonce: of the node of this rank."""
        taken = _taken(self.session, nonce, self._job, stream, offset_bytes)
        signature = self._signer.sign_bytes(Context.ACKNOWLEDGEMENT, taken)
        return Acknowledged(self._job, rank, stream, offset_bytes, signature)

    def release(self) -> Release:
        """The job is over everywhere."""
        return Release(self._job, self._signer.sign_bytes(Context.RELEASE, self.session + _JOB.pack(self._job)))


class SignedJob(NamedTuple):
    """A job's ticket, and what signs its orders and its input."""

    ticket: Signed
    signer: JobSigner


class JobOrders:
    """Opens the orders for one job, on a node.  nonce: of this run of its slave."""

    def __init__(self, public_key: Keys, session: bytes, job: int, nonce: bytes) -> None:
        self._public_key = public_key
        self._session = session
        self._job = job
        self._nonce = nonce
        self._last = 0

    def open(self, signed: Signed) -> Act:
        """Raises: TicketRefused."""
        order = opened(Context.ORDER, signed, self._public_key, _order_decoder)
        if order.session != self._session or order.job != self._job:
            raise ForAnotherJob(order.job, self._job)
        if order.number <= self._last:
            raise StaleOrder(order.job, order.number, self._last)
        self._last = order.number
        return order.act

    def check_taken(self, taken: Acknowledged) -> None:
        """Check that the master has this much of this node's output.  Raises: Forged."""
        signed = _taken(self._session, self._nonce, self._job, taken.stream, taken.bytes)
        check_signature(Context.ACKNOWLEDGEMENT, signed, taken.signature, self._public_key)

    def check_release(self, release: Release) -> None:
        """Check that the master says that the job is over.  Raises: Forged."""
        check_signature(Context.RELEASE, self._session + _JOB.pack(self._job), release.signature, self._public_key)


class JobInput:
    """Opens the standard input of one job, block by block, on a node."""

    def __init__(self, public_key: Keys, session: bytes, job: int) -> None:
        self._public_key = public_key
        self._session = session
        self._job = job
        self._offset_bytes = 0
        self._ended = False

    def open(self, block: InputBlock) -> bytes | None:
        """The data; None if the block is here already, or comes too early.

        After a change of parent the master sends some of them again, in order.

        Raises: Forged for a block that the master did not sign.
        """
        if self._ended or block.offset != self._offset_bytes:
            return None
        signed = _block(self._session, self._job, self._offset_bytes, block.data)
        check_signature(Context.INPUT, signed, block.signature, self._public_key)
        self._offset_bytes += len(block.data)
        self._ended = not block.data
        return block.data


class JobWords(NamedTuple):
    """What checks the master's words for one job, on a node."""

    input: JobInput
    orders: JobOrders


def _block(session: bytes, job: int, offset_bytes: int, data: bytes) -> bytes:
    return session + _PLACE_IN_STREAM.pack(job, offset_bytes) + blake3(data).digest()


def _taken(session: bytes, nonce: bytes, job: int, stream: int, offset_bytes: int) -> bytes:
    return session + nonce + _TAKEN.pack(job, stream, offset_bytes)


_order_decoder = msgspec.msgpack.Decoder(Order)
