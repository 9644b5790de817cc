"""The text form of the ticket keys: a header line, then 32 bytes in hexadecimal."""

from __future__ import annotations

from typing import Final

from gproc.errors import TrustError

KEY_BYTES: Final = 32
"""Length of an Ed25519 seed and of an Ed25519 public key: RFC 8032 5.1.5."""

SEED_HEADER: Final = "gproc ticket key, Ed25519 seed: keep it secret"
PUBLIC_HEADER: Final = "gproc ticket key, Ed25519 public key"


def encode_key(header: str, key: bytes) -> bytes:
    return f"{header}\n{key.hex()}\n".encode()


def decode_key(header: str, text: bytes, path: str) -> bytes:
    """The 32 bytes in the text; `path` is only for the message.

    Raises: TrustError, which names `path`, if the text has another header or not 32 bytes.
    """
    lines = text.decode("ascii", "replace").splitlines()
    if len(lines) != 2 or lines[0] != header:
        raise TrustError(f"{path} is damaged: expected the line {header!r} and one line of digits")
    try:
        key = bytes.fromhex(lines[1])
    except ValueError as error:
        raise TrustError(f"{path} is damaged: its second line is not hexadecimal") from error
    if len(key) != KEY_BYTES:
        raise TrustError(f"{path} is damaged: it has {len(key)} bytes of key instead of {KEY_BYTES}")
    return key
