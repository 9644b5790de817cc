"""The text form of keys: of the ticket keys a header line and 32 bytes in hexadecimal, of a node's key PEM."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
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


# A node's key, as OpenSSL reads it

_PKCS8: Final = bytes.fromhex("302e020100300506032b657004220420")
"""Before the 32 bytes of an Ed25519 key: RFC 8410 section 7."""

_BEGIN: Final = b"-----BEGIN PRIVATE KEY-----\n"
_END: Final = b"\n-----END PRIVATE KEY-----\n"


def key_pem(seed: bytes) -> bytes:
    """An Ed25519 key as PEM, so that a slave can make one without `cryptography`."""
    return _BEGIN + b2a_base64(_PKCS8 + seed, newline=False) + _END


def seed_in(content: bytes) -> bytes | None:
    """The Ed25519 key in a file's content; None if there is none, or one for another algorithm."""
    body = content.partition(_BEGIN)[2].partition(_END)[0]
    try:
        der = a2b_base64(body)
    except ValueError:
        return None
    return der[len(_PKCS8) :] if der.startswith(_PKCS8) and len(der) == len(_PKCS8) + KEY_BYTES else None


def key_in(content: bytes) -> bytes | None:
    """The PEM of the first private key in a file's content, for whatever algorithm; None if there is none."""
    _, begin, rest = content.partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    return begin + body + end if begin and end else None
