"""The list of revoked certificates: kept on the front end, signed by its master, and known to every node.

`gproc key revoke NAME` revokes all certificates of a host that were issued until now, those of gproc 0.1 too; what is
issued later is good.  `gproc key revoke SERIAL` revokes one.  The list has a number that only rises: a node never takes
an older list for a newer one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from gproc.errors import TrustError
from gproc.trust.home import SECRET_MODE, locked, read_file, write_file
from gproc.trust.ledger import ISSUING, IssuedLine, issued
from gproc.trust.names import HOST_NAME_MAX, check_host_name
from gproc.trust.stamp import SERIAL_DIGITS_MAX

REVOKED: Final = "revoked"

REVOKED_MAX: Final = 4096
"""Names, and as many serials: 1.3 MB at most, which each node has.  More than that asks for a new cluster."""

Date = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""Unix time, in seconds."""

Revoked = Annotated[str, msgspec.Meta(max_length=HOST_NAME_MAX)]
Serial = Annotated[str, msgspec.Meta(max_length=SERIAL_DIGITS_MAX)]


class RevocationList(msgspec.Struct, frozen=True, array_like=True):
    """names: of these hosts all certificates that were issued at that date or before it.

    serials: these, and when they would have expired.  number: higher than that of each list before it.
    """

    number: Date = 0
    names: Annotated[tuple[tuple[Revoked, Date], ...], msgspec.Meta(max_length=REVOKED_MAX)] = ()
    serials: Annotated[tuple[tuple[Serial, Date], ...], msgspec.Meta(max_length=REVOKED_MAX)] = ()


_decoder = msgspec.json.Decoder(RevocationList)


def read_revocations(home: str) -> RevocationList:
    """Raises: TrustError if the list is damaged, or a link that leads nowhere: then nobody may be let in by it."""
    path = os.path.join(home, REVOKED)
    if not os.path.lexists(path):
        return RevocationList()
    try:
        return _decoder.decode(read_file(path))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TrustError(
            f"{path} is damaged ({error}): restore it from a backup, or remove it and revoke again"
        ) from error


def number_in(content: bytes) -> int:
    """The number of a list; -1 if it is damaged."""
    try:
        return _decoder.decode(content).number
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return -1


def is_revoked(found: RevocationList, name: str, serial: str, issued_s: int) -> bool:
    """Whether a list names this certificate of a node."""
    of_name = any(each.lower() == name.lower() and issued_s <= until_s for each, until_s in found.names)
    return of_name or any(each == serial for each, _ in found.serials)


class Revocation(msgspec.Struct, frozen=True):
    """What one word has revoked.  text: in words.  near: an issued name like it, if none that was issued is this one.

    is_known: whether a certificate was issued under it.
    """

    word: str
    text: str
    is_known: bool = True
    near: str = ""


def revoke(home: str, words: Iterable[str]) -> list[Revocation]:
    """Add host names and serials to the list.

    Raises: TrustError for a word that is neither the name nor the serial of an issued certificate.
    """
    with locked(home, ISSUING):
        known = issued(home)
        before = read_revocations(home)
        now_s = int(time.time())
        names, serials = dict(before.names), {serial: ends for serial, ends in before.serials if ends > now_s}
        told: list[Revocation] = []
        for word in words:
            one = next((entry for entry in known if entry.serial == word.upper()), None)
            if one is not None and one.role == "master":
                raise TrustError(f"{word} is the master's own certificate, which cannot be revoked: make a new cluster")
            if one is not None:
                serials[one.serial] = one.expires_s
                told.append(Revocation(word, f"{one.role} {one.name}, serial {one.serial}"))
                continue
            check_host_name(word)
            count = sum(entry.name == word for entry in known)
            # Nothing is written down of hosts whose keys gproc 0.1 made, so a name need not be known.
            newest = max((entry.issued_s for entry in known if entry.name == word), default=0)
            names[word] = max(now_s, newest, names.get(word, 0))
            near = "" if count else _near(word, known)
            text = f"{word}, {count} certificates that are known and all others until now"
            told.append(Revocation(word, text, count > 0, near))
        if max(len(names), len(serials)) > REVOKED_MAX:
            raise TrustError(f"more than {REVOKED_MAX} certificates would be revoked: make a new cluster")
        # By the clock, so that a list that is made after an old backup was restored has a higher number all the same.
        number = max(before.number + 1, now_s)
        after = RevocationList(number, tuple(names.items()), tuple(serials.items()))
        write_file(os.path.join(home, REVOKED), msgspec.json.encode(after) + b"\n", SECRET_MODE)
    return told


def _near(word: str, known: Iterable[IssuedLine]) -> str:
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, sorted({entry.name for entry in known if entry.role == "node"}), n=1)), "")
