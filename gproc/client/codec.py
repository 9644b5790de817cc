"""Output and input of a job as text, if the caller wants that.  Pure."""

from __future__ import annotations

import codecs
from typing import NamedTuple


class TextCodec(NamedTuple):
    """As `bytes.decode` and `str.encode` have them."""

    encoding: str
    errors: str


def codec_of(*, text: bool, encoding: str | None, errors: str | None) -> TextCodec | None:
    """None for bytes.  An encoding, or what to do about errors, asks for text too, as of subprocess.

    Raises: LookupError if there is no such encoding, before anything runs.
    """
    if not (text or encoding or errors):
        return None
    codec = TextCodec(encoding or "utf-8", errors or "strict")
    codecs.lookup(codec.encoding)
    codecs.lookup_error(codec.errors)
    return codec


def input_bytes(data: str | bytes | None, codec: TextCodec | None) -> bytes | None:
    """The input as bytes.  Raises: TypeError for bytes with a codec, and for text without one, as subprocess does."""
    if data is None:
        return None
    if codec is not None:
        if not isinstance(data, str):
            raise TypeError(f"input must be str if text is wanted, not {type(data).__name__}")
        return data.encode(*codec)
    if isinstance(data, str):
        raise TypeError("input must be bytes; say text=True for str")
    return bytes(memoryview(data))  # bytes(5) would be five zeros
