"""How a program ended, signed by the node that ran it, so that no relay on the way to the master can say otherwise.

Each run of a slave makes a key of its own.  The key of the host's certificate signs it once, together with the run's
nonce (`KeyProof`), and the master checks that when the node arrives.  So the master need check one signature for each
outcome, and a certificate that is renewed meanwhile changes nothing.

An outcome is bound to the session, the job, the rank and the size of the job, and to a digest of each output stream.
So it has no value for another job or another node, and the master notices at the end of a rank if its output was
changed.  It does not notice earlier: output is passed on as it comes.

Measured: a node needs 0.02 ms for an outcome, the master 0.06 ms, and each of them 0.17 s of CPU for a GiB of output.
"""

from __future__ import annotations

import os
import struct
from typing import Annotated, Final

import msgspec

from gproc.request.outcome import Outcome
from gproc.trust.keyfile import KEY_BYTES
from gproc.trust.signing import Context, Sequence, Session, Signer, check_signature, opened
from gproc.wire.endings import OutputGone
from gproc.wire.messages import Signed

_GONE: Final = struct.Struct("!QIBQ")

_RUN_KEY: Final = b"gproc run key\0"

DIGEST_BYTES: Final = 32

OutputDigest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


class SignedEnd(msgspec.Struct, frozen=True, array_like=True):
    """What a node signs of one rank.

    size: ranks of the job in all.  said: bytes of its standard output, of its standard error, and of the files that it
    brings back, if the job brings any.  digests: BLAKE3 of each of these.
    leaves_files: whether it has written files in its working directory that are gone with it.
    """

    session: Session
    job: Sequence
    rank: Sequence
    size: Sequence
    outcome: Outcome
    said: Annotated[tuple[Sequence, ...], msgspec.Meta(min_length=2, max_length=3)]
    digests: Annotated[tuple[OutputDigest, ...], msgspec.Meta(min_length=2, max_length=3)]
    leaves_files: bool = False


class RunKey:
    """The key of one run of a slave."""

    def __init__(self) -> None:
        self._signer = Signer(os.urandom(KEY_BYTES))

    @property
    def public(self) -> bytes:
        return self._signer.public_key

    def sign(self, end: SignedEnd) -> Signed:
        return self._signer.sign(Context.OUTCOME, end)

    def output_gone(self, session: bytes, job: int, rank: int, stream: int, size: int) -> OutputGone:
        signature = self._signer.sign_bytes(Context.OUTPUT_GONE, _gone(session, job, rank, stream, size))
        return OutputGone(job, rank, stream, size, signature)


def check_gone(gone: OutputGone, session: bytes, key: bytes) -> None:
    """Check that the run with this key does not have that output any more.  Raises: Forged."""
    signed = _gone(session, gone.job, gone.rank, gone.stream, gone.bytes)
    check_signature(Context.OUTPUT_GONE, signed, gone.signature, key)


def _gone(session: bytes, job: int, rank: int, stream: int, size: int) -> bytes:
    return session + _GONE.pack(job, rank, stream, size)


def run_key_subject(nonce: bytes, key: bytes) -> bytes:
    """What the key of a certificate signs of the run with this nonce."""
    return _RUN_KEY + nonce + key


def read_end(signed: Signed, key: bytes) -> SignedEnd:
    """How a program ended, as the run with this key has signed it.  Raises: TicketRefused if it did not sign this."""
    return opened(Context.OUTCOME, signed, key, _decoder)


_decoder = msgspec.msgpack.Decoder(SignedEnd)
