"""When a certificate was issued, when it ends, and its serial number: as values, and as a line of its file.

The line stands behind the certificate's name (`gproc.trust.certfile`), so that a slave can read it without an X.509
parser.  Peers never see it: they use what was signed.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

import msgspec

LIFETIME_S: Final = 90 * 86400.0
"""How long a certificate lasts.  A node renews its own when a third of that is left, so a master may be away for 30
days and finds all its nodes again."""

RENEWED_PART: Final = 1 / 3
"""The part of its life that is left when a node asks for the next one."""

SERIAL_DIGITS_MAX: Final = 40
"""Hexadecimal digits: 20 octets by RFC 5280 4.1.2.2."""

_DATE: Final = "%Y-%m-%dT%H:%M:%SZ"
_LINE: Final = re.compile(r"serial ([0-9A-F]{1,40}), issued (\S{20}), expires (\S{20})")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_X509: Final = re.compile(r"([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4}) GMT", re.ASCII)
_PARTS: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)


class CertStamp(msgspec.Struct, frozen=True):
    """Facts of a certificate.  serial: hexadecimal digits, as OpenSSL writes it.  Dates: Unix time, whole seconds."""

    serial: str
    issued_s: int
    expires_s: int

    @property
    def life_s(self) -> int:
        return self.expires_s - self.issued_s

    def line(self) -> str:
        return f"serial {self.serial}, issued {date_text(self.issued_s)}, expires {date_text(self.expires_s)}"


def parse_stamp(line: str) -> CertStamp | None:
    """What `CertStamp.line` wrote; None for any other line: gproc 0.1 wrote none, and its certificates never end."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return None
    dates = [_parsed(found[2]), _parsed(found[3])]
    return None if None in dates else CertStamp(found[1], dates[0] or 0, dates[1] or 0)


def _parsed(text: str) -> int | None:
    """time.strptime, and ssl.cert_time_to_seconds, would import a module that nothing else needs."""
    parts = _PARTS.fullmatch(text)
    try:
        found = -1 if parts is None else _unix_s(*map(int, parts.groups()))
        return found if found >= 0 else None
    except ValueError:
        return None


def parse_x509_date(text: str) -> int:
    """A date as ssl.SSLSocket.getpeercert() has it: "Jan  5 09:34:43 2018 GMT".  Raises: ValueError."""
    found = _X509.fullmatch(text)
    if found is None or found[1] not in _MONTHS:
        raise ValueError(f"{text!r} is no date")
    day, hour, minute, second, year = (int(found[n]) for n in range(2, 7))
    return _unix_s(year, _MONTHS.index(found[1]) + 1, day, hour, minute, second)


def _unix_s(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Raises: ValueError for what is no time of any day.  The module calendar would bring locale along: 0.4 MB."""
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())


def date_text(unix_s: float) -> str:
    return time.strftime(_DATE, time.gmtime(unix_s))
