"""The file of a time zone that TZ names: tzset(3).  Pure."""

from __future__ import annotations

import re
from typing import Final

_ZONES: Final = "/usr/share/zoneinfo"
_ZONE: Final = re.compile(r":?([A-Z][\w+-]*(?:/[\w+-]+)*)")


def zone_file(value: str) -> tuple[str, ...]:
    """value: of TZ.  None if it says a rule, such as CET-1."""
    match = _ZONE.fullmatch(value)
    return (f"{_ZONES}/{match[1]}",) if match is not None else ()
