"""What the authority has issued: a line of JSON for each certificate, in `$GPROC_HOME/issued`.

It is for people (`gproc key list`) and for the rule that no certificate is dated before one that was revoked.  Whether
a certificate is good is never read from here: that is what its signature and the list of revoked ones say.
"""

from __future__ import annotations

import os
import time
from typing import Final, Literal

import msgspec

from gproc.errors import TrustError
from gproc.trust.home import SECRET_MODE, write_file
from gproc.trust.names import CertRole
from gproc.trust.stamp import CertStamp

LEDGER: Final = "issued"

ISSUING: Final = "issued.lock"
"""The lock of those who issue and revoke."""

KEPT_S: Final = 30 * 86400
"""An expired certificate stays in the list for so long."""

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


_decoder = msgspec.json.Decoder(IssuedLine)


def note(home: str, name: str, role: CertRole, stamp: CertStamp, kind: Kind) -> None:
    """Write it down; the caller holds the lock ISSUING.  Raises: TrustError."""
    path = os.path.join(home, LEDGER)
    entry = IssuedLine(name, role, stamp.serial, stamp.issued_s, stamp.expires_s, kind)
    try:
        if os.path.exists(path) and os.path.getsize(path) > LOOK_AGAIN_BYTES:
            _forget_expired(home)
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, SECRET_MODE), "ab") as file:
            file.write(msgspec.json.encode(entry) + b"\n")
    except OSError as error:
        raise TrustError(f"cannot write {path}: {error.strerror}") from error


def issued(home: str) -> list[IssuedLine]:
    """All that are known, the oldest first.  A line that was cut off by a power failure is passed over."""
    try:
        with open(os.path.join(home, LEDGER), "rb") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TrustError(f"cannot read {os.path.join(home, LEDGER)}: {error.strerror}") from error
    found = []
    for line in lines:
        try:
            found.append(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found


def _forget_expired(home: str) -> None:
    kept = [entry for entry in issued(home) if entry.expires_s + KEPT_S > time.time()]
    content = b"".join(msgspec.json.encode(entry) + b"\n" for entry in kept)
    write_file(os.path.join(home, LEDGER), content, SECRET_MODE)
