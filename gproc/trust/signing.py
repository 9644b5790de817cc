"""What the master signs, and how other processes check it: Ed25519 over a context, a version and a value in msgpack.

The context says what kind of thing was signed, so that nothing can be taken for something else.  The signature is
checked first: no byte that the master did not sign is ever parsed.

PyNaCl needs a sixth of the memory of `cryptography`, in every slave.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final, TypeVar

import msgspec
from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from gproc.errors import TrustError
from gproc.wire.messages import Signed

VERSION: Final = 2
"""The version of all values that are signed: the first byte of every payload."""

SESSION_BYTES: Final = 16
NONCE_BYTES: Final = 16
"""128 random bits each, which never occur twice (NIST SP 800-90A asks for as many in a nonce at full strength)."""

SIGNATURE_BYTES: Final = crypto_sign_BYTES

Sequence = Annotated[int, msgspec.Meta(ge=0)]
Session = Annotated[bytes, msgspec.Meta(min_length=SESSION_BYTES, max_length=SESSION_BYTES)]
Nonce = Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]

V = TypeVar("V")


class Context(Enum):
    """The kinds of things that are signed.  value: what stands before the signed bytes; the rest: for people.

    The master signs all of them except the last two: the node that ran the program signs those.
    """

    GRANT = b"gproc grant\0"
    TICKET = b"gproc ticket\0"
    ORDER = b"gproc order\0"
    INPUT = b"gproc input\0"
    LEASE = b"gproc lease\0"
    END = b"gproc end\0"
    REVOCATIONS = b"gproc revocations\0"
    CERTIFICATE = b"gproc certificate\0"
    TURN = b"gproc turn\0"
    NEW_KEYS = b"gproc succession\0"
    OLD_KEYS_END = b"gproc retirement\0"
    ACKNOWLEDGEMENT = b"gproc acknowledgement\0"
    RELEASE = b"gproc release\0"
    OUTCOME = b"gproc outcome\0"
    OUTPUT_GONE = b"gproc output gone\0"

    @property
    def noun(self) -> str:
        return self.value[len(b"gproc ") : -1].decode()


class TicketRefused(TrustError):
    """Something signed, or said to be, that a node refused; its state is unchanged."""


class Forged(TicketRefused):
    """The cluster's master did not sign this."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"a forged {self.what}: this cluster's master did not sign it, or it was changed on its way"


class Unreadable(TicketRefused):
    """The master signed this, but in a form that this gproc does not know."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return f"an unreadable {self.what} ({self.reason}): run the same gproc here and on the master"


class TrustedKeys:
    """The public keys by which the master may sign now: one, or two while the cluster's keys are exchanged.

    retired: those that were valid before in this process.
    """

    def __init__(self, *valid: bytes) -> None:
        self._valid = valid
        self.retired: tuple[bytes, ...] = ()

    @property
    def valid(self) -> tuple[bytes, ...]:
        return self._valid

    def add(self, key: bytes) -> None:
        if key not in self._valid:
            self._valid = (*self._valid, key)

    def end_all_but(self, key: bytes) -> None:
        self.retired = (*self.retired, *(known for known in self._valid if known != key))
        self._valid = (key,)


class KeysOfJob(TrustedKeys):
    """The present keys, and those that were valid when a job began: its ticket and its first orders stay valid."""

    def __init__(self, now: TrustedKeys) -> None:
        super().__init__(*now.valid)
        self._now = now

    @property
    def valid(self) -> tuple[bytes, ...]:
        return tuple(dict.fromkeys((*self._now.valid, *self._valid)))


Keys = bytes | tuple[bytes, ...] | TrustedKeys
"""One public key, or several of which each may have signed."""


class Signer:
    """Signs for the master; `seed` is `Authority.ticket_seed()`.  Or for one run of a slave: `gproc.trust.outcomes`."""

    def __init__(self, seed: bytes) -> None:
        self.public_key, self._secret_key = crypto_sign_seed_keypair(seed)

    def become(self, other: Signer) -> None:
        """Sign as the other one from now on."""
        self.public_key, self._secret_key = other.public_key, other._secret_key

    def sign(self, context: Context, value: msgspec.Struct) -> Signed:
        payload = bytes((VERSION,)) + msgspec.msgpack.encode(value)
        return Signed(payload, self.sign_bytes(context, payload))

    def sign_anew(self, context: Context, signed: Signed) -> Signed:
        """The same payload, signed by this key."""
        return Signed(signed.payload, self.sign_bytes(context, signed.payload))

    def sign_bytes(self, context: Context, data: bytes) -> bytes:
        """The signature alone."""
        return crypto_sign(context.value + data, self._secret_key)[:SIGNATURE_BYTES]


def check_signature(context: Context, data: bytes, signature: bytes, keys: Keys) -> None:
    """Raises: Forged."""
    if len(signature) != SIGNATURE_BYTES:
        raise Forged(context.noun)
    signed = signature + context.value + data
    for key in _each(keys):
        try:
            crypto_sign_open(signed, key)
            return
        except BadSignatureError:
            continue
    raise Forged(context.noun)


def _each(keys: Keys) -> tuple[bytes, ...]:
    if isinstance(keys, TrustedKeys):
        return keys.valid
    return (keys,) if isinstance(keys, bytes) else keys


def opened(context: Context, signed: Signed, keys: Keys, decoder: msgspec.msgpack.Decoder[V]) -> V:
    """The value that the master signed.  Raises: Forged, Unreadable."""
    check_signature(context, signed.payload, signed.signature, keys)
    version = signed.payload[:1]
    if version != bytes((VERSION,)):
        raise Unreadable(context.noun, f"version {version.hex()}, known is {VERSION:02x}")
    try:
        return decoder.decode(memoryview(signed.payload)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(context.noun, str(error)) from error
