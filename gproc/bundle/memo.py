"""What LIEF found in ELF files, kept between commands, because importing LIEF costs 0.3 s.

An answer is stored under the digest of the bytes that LIEF parsed (an `excerpt`).  A changed file has another digest,
so no answer can be out of date.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

import msgspec

from gproc.bundle import keeping
from gproc.content.manifest import DIGEST_BYTES, digest_of

FORMAT: Final = 2

ANSWERS_MAX: Final = 4096
"""Enough for the libraries of a large desktop, in some 400 KB.  If there are more, the older half is dropped."""

NAME: Final = "elf.memo"


class ElfFacts(msgspec.Struct, frozen=True, array_like=True):
    """The dynamic section of one file, and its interpreter; b"" and None mean absent.

    Names are bytes, as in the file: they need not be UTF-8, as MessagePack's strings must.
    """

    interpreter: bytes
    soname: bytes
    needed: tuple[bytes, ...]
    rpath: bytes | None
    runpath: bytes | None
    flags_1: int


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    format: int
    answers: dict[bytes, ElfFacts]


class Memo:
    """The answers in one directory; `save` writes the new ones.  Without a directory, answers last for this run."""

    def __init__(self, directory: str | None = None) -> None:
        self._path = None if directory is None else os.path.join(directory, NAME)
        self._answers: dict[bytes, ElfFacts] | None = None
        self._new = False

    def recall(self, image: bytes) -> ElfFacts | None:
        return self._known().get(digest_of(image))

    def remember(self, image: bytes, answer: ElfFacts) -> None:
        self._known()[digest_of(image)] = answer
        self._new = True

    def save(self) -> None:
        """Write new answers.  A memo that cannot be written is not an error."""
        if self._path is None or not self._new:
            return
        answers = self._known()
        if len(answers) > ANSWERS_MAX:
            answers = dict(list(answers.items())[-ANSWERS_MAX // 2 :])
        with contextlib.suppress(OSError):
            keeping.replace(self._path, msgspec.msgpack.encode(_Kept(FORMAT, answers)))

    def _known(self) -> dict[bytes, ElfFacts]:
        if self._answers is None:
            self._answers = self._load()
        return self._answers

    def _load(self) -> dict[bytes, ElfFacts]:
        if self._path is None:
            return {}
        try:
            content = keeping.read_own(self._path)
            if content is None:
                return {}
            kept = msgspec.msgpack.decode(content, type=_Kept)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}
        if kept.format != FORMAT or any(len(digest) != DIGEST_BYTES for digest in kept.answers):
            return {}
        return kept.answers
