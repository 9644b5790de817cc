"""Why a node takes no new jobs."""

from __future__ import annotations

import msgspec

from gproc.wire.branch import Number


class NodeDrained(msgspec.Struct, frozen=True, array_like=True):
    """since_s: Unix time.  uid: the user who said so.  reason: in that user's words, or ""."""

    since_s: float
    uid: Number
    reason: str
