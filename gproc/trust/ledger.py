"""What the authority has issued: a line of JSON for each certificate, in `$GPROC_HOME/issued`.

It is for people (`gproc key list`) and for the rule that no certificate is dated before one that was revoked.  Whether
a certificate is good is never read from here: that is what its signature and the list of revoked ones say.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from gproc.errors import TrustError
from gproc.trust.home import SECRET_MODE, read_file, write_file
from gproc.trust.names import CertRole
from gproc.trust.stamp import CertStamp, date_text

LEDGER: Final = "issued"

ISSUING: Final = "issued.lock"
"""The lock for issuing and revoking."""

KEPT_S: Final = 30 * 86400
"""Seconds for which an expired certificate stays in the list."""

CLOCK_MAY_DIFFER_S: Final = 3600.0
"""Clocks are set back by seconds, not by hours."""

LAST_LINE_BYTES: Final = 2048
"""A line has 500 at most: a name has 253."""

NAMED_MAX: Final = 5
"""Damaged lines that are named by number."""

LOOK_AGAIN_BYTES: Final = 1 << 20
"""A file of this size is looked through for expired certificates: 5,000 nodes have as much."""

Kind = Literal["front end", "cert", "file", "ssh", "renewed"]
"""How it was handed out: made on the front end for itself, by gproc cert, key issue, start, or through the tree."""


class IssuedLine(msgspec.Struct, frozen=True):
    """One certificate."""

    name: str
    role: CertRole
    serial: str
    issued_s: int
    expires_s: int
    kind: Kind
    generation: int = 1
    """The generation of the keys that have signed it: `gproc.trust.rotation`."""


_decoder = msgspec.json.Decoder(IssuedLine)


def note(home: str, name: str, role: CertRole, stamp: CertStamp, kind: Kind, generation: int) -> None:
    """Add it to the file; the caller holds the lock ISSUING.  Raises: TrustError."""
    path = os.path.join(home, LEDGER)
    entry = IssuedLine(name, role, stamp.serial, stamp.issued_s, stamp.expires_s, kind, generation)
    try:
        if os.path.exists(path) and os.path.getsize(path) > LOOK_AGAIN_BYTES:
            _forget_expired(home)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, SECRET_MODE)
        with open(descriptor, "rb+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # the last line
            line = b"\n" * is_cut + msgspec.json.encode(entry) + b"\n"
            if file.write(line) != len(line):
                os.ftruncate(descriptor, size)  # what is there of it would look like one that was issued
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise TrustError(f"cannot write {path}: {error.strerror}") from error


def strike_off(home: str, serial: str) -> None:
    """Take a certificate that nobody was given off the list; the caller holds the lock ISSUING.

    The last line is taken off in place: a disk that was too full for the certificate has no room for another list.
    Raises: TrustError.
    """
    path = os.path.join(home, LEDGER)
    lines = read_file(path).splitlines(keepends=True)
    kept = [line for line in lines if _serial_in(line) != serial]
    if kept == lines[:-1]:
        try:
            os.truncate(path, sum(map(len, kept)))
        except OSError as error:
            raise TrustError(f"cannot write {path}: {error.strerror}") from error
    elif kept != lines:
        write_file(path, b"".join(kept), SECRET_MODE)


def _serial_in(line: bytes) -> str:
    try:
        return _decoder.decode(line).serial
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def check_clock(home: str, now_s: float) -> None:
    """Raises: TrustError if a certificate has a later date than this machine's clock shows: what is issued now would be
    taken for expired when the clock is right again."""
    path = os.path.join(home, LEDGER)
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_LINE_BYTES))
            last = _decoder.decode(file.read().splitlines()[-1])
    except (OSError, IndexError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # there is none, or it was cut off
    if last.issued_s > now_s + CLOCK_MAY_DIFFER_S:
        raise TrustError(
            f"this machine's clock shows {date_text(now_s)}, and a certificate was issued on "
            f"{date_text(last.issued_s)}: set the clock, or if that date is the wrong one, remove {path}"
        )


def issued(home: str) -> list[IssuedLine]:
    """All issued certificates, the oldest first.  Raises: TrustError if the file cannot be read."""
    return read_ledger(home)[0]


def read_ledger(home: str) -> tuple[list[IssuedLine], list[int]]:
    """The same, and the numbers of lines that say nothing.  A power failure may have cut the last one off."""
    try:
        with open(os.path.join(home, LEDGER), "rb") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise TrustError(f"cannot read {os.path.join(home, LEDGER)}: {error.strerror}") from error
    found, damaged = [], []
    for number, line in enumerate(lines, 1):
        try:
            found.append(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            damaged.append(number)
    return found, damaged


def damage(home: str, damaged: Sequence[int]) -> str:
    """What of the file cannot be read, as a sentence; "" if all can.  damaged: of `read_ledger`."""
    if not damaged:
        return ""
    lines = "line " if len(damaged) == 1 else "lines "
    lines += ", ".join(map(str, damaged[:NAMED_MAX])) + (", ..." if len(damaged) > NAMED_MAX else "")
    return (
        f"{os.path.join(home, LEDGER)}: {lines} cannot be read, so a certificate may have been issued that is not "
        "known: give the file back from a backup, or remove what is damaged"
    )


def _forget_expired(home: str) -> None:
    entries, damaged = read_ledger(home)
    if damaged:
        return  # a person is told, and must see it
    kept = [entry for entry in entries if entry.expires_s + KEPT_S > time.time()]
    content = b"".join(msgspec.json.encode(entry) + b"\n" for entry in kept)
    write_file(os.path.join(home, LEDGER), content, SECRET_MODE)
