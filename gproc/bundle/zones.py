"""The file of a time zone that TZ names: tzset(3).  Pure."""

from __future__ import annotations

import re
from typing import Final

_ZONES: Final = "/usr/share/zoneinfo"
_ZONE: Final = re.compile(r":?([A-Z][\w+-]*(?:/[\w+-]+)*)")


_NAMED: Final = re.compile(rb"[\"'=]([A-Z][A-Za-z_]{2,30}(?:/[A-Z][A-Za-z_]{2,30}){1,2})(?=[\"'\s]|$)", re.MULTILINE)
_NAMED_MAX: Final = 100


def named_in(text: bytes) -> list[str]:
    """The files of what may be zones in a text: `ZoneInfo("Europe/Paris")`."""
    return [f"{_ZONES}/{name.decode()}" for name in sorted(set(_NAMED.findall(text)))[:_NAMED_MAX]]


def zone_file(value: str) -> tuple[str, ...]:
    """value: of TZ.  None if it says a rule, such as CET-1."""
    match = _ZONE.fullmatch(value)
    return (f"{_ZONES}/{match[1]}",) if match is not None else ()
