"""Bugs that are planted into what the product does with clocks."""

from __future__ import annotations

import time
from types import FunctionType
from typing import Any, Final

from gproc.records.session import MasterSession
from gproc.trust.lease import boottime_s


def date_s() -> float:
    """Its code runs in the module of `boottime_s`, and so sees that one's clock."""
    return time.time()


def a_session_is_known_by_the_date(self: MasterSession, place: str, cluster: str, boot: str | None = None) -> None:
    _begin(self, place, cluster, boot, clock_s=_date_s)


_begin = MasterSession.__init__


_date_s: Final = FunctionType(date_s.__code__, boottime_s.__globals__)


IN_CLOCKS: Final[dict[str, tuple[Any, str, Any]]] = {
    "leases are counted by the date": (boottime_s, "__code__", date_s.__code__),
    "a session is known by the date": (MasterSession, "__init__", a_session_is_known_by_the_date),
}
