"""The data nodes that have registered: leases, and whose turn it is.  Pure; the caller says the time."""

from __future__ import annotations

from typing import Final

import msgspec

from gproc.adapters.gridftp.packets import Registration

LEASE_S: Final = 600.0
"""How long a registration holds without a refresh: GF_REGISTRATION_TIMEOUT of Globus."""

MAX_BACKENDS: Final = 4096
"""As many as fit into one message of a link, 1 MiB."""


class _Lease(msgspec.Struct):
    registration: Registration
    ends_at_s: float


class Backends:
    """All times are in seconds of one clock that never goes back."""

    def __init__(self, lease_s: float = LEASE_S) -> None:
        self._lease_s = lease_s
        self._leases: dict[str, _Lease] = {}  # by contact; whose turn is next comes first

    def __len__(self) -> int:
        return len(self._leases)

    def register(self, registration: Registration, now_s: float) -> bool:
        """Begin a lease, or extend one and take over what has changed.  Returns: False if there are too many."""
        self.expire(now_s)
        held = self._leases.get(registration.contact)
        if held is None and len(self._leases) >= MAX_BACKENDS:
            return False
        if held is None:
            self._leases[registration.contact] = _Lease(registration, now_s + self._lease_s)
        else:
            held.registration, held.ends_at_s = registration, now_s + self._lease_s
        return True

    def remove(self, contact: str) -> bool:
        """Returns: whether it was there."""
        return self._leases.pop(contact, None) is not None

    def expire(self, now_s: float) -> list[str]:
        """End the leases that are over.  Returns: their contacts."""
        over = [contact for contact, lease in self._leases.items() if lease.ends_at_s <= now_s]
        for contact in over:
            del self._leases[contact]
        return over

    def take(self, count: int, now_s: float) -> list[Registration]:
        """The next `count` data nodes (0: all), which then are the last: round robin."""
        self.expire(now_s)
        taken = list(self._leases)[: count or None]
        for contact in taken:
            self._leases[contact] = self._leases.pop(contact)
        return [self._leases[contact].registration for contact in taken]


def entries(registrations: list[Registration]) -> bytes:
    """The message for a server: each entry says how many are left."""
    return b"".join(each.entry(len(registrations) - place) for place, each in enumerate(registrations))
