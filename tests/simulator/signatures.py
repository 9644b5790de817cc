"""Signatures that cost a hundredth: a keyed digest instead of Ed25519.  A changed one is refused; no peer forges one
here.

Real ones would be a third of the time of a simulated fault.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

from nacl.exceptions import BadSignatureError

import gproc.trust.signing
from gproc.trust.signing import SIGNATURE_BYTES
from tests.simulator.clock import replaced


def key_pair(seed: bytes) -> tuple[bytes, bytes]:
    """(public, secret), which are the same here."""
    key = hashlib.blake2b(seed, digest_size=32).digest()
    return key, key


def sign(data: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=SIGNATURE_BYTES, key=key).digest() + data


def open_signed(signed: bytes, key: bytes) -> bytes:
    """Raises: BadSignatureError."""
    data = signed[SIGNATURE_BYTES:]
    if sign(data, key) != signed:
        raise BadSignatureError("forged")
    return data


@contextlib.contextmanager
def cheap_signatures() -> Iterator[None]:
    module = gproc.trust.signing
    with (
        replaced(module, "crypto_sign_seed_keypair", key_pair), replaced(module, "crypto_sign", sign),
        replaced(module, "crypto_sign_open", open_signed),
    ):  # fmt: skip
        yield
