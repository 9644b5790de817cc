"""Which certificates count now: not those that have expired or are revoked.  Pure: times are arguments.

TLS checks which CA signed a certificate; both ends ask this module after each handshake.  Nodes do not go by their own
clocks, which may show 1970: the date that the master signs with each grant and lease counts.  Before a node has
heard one, nothing has expired for it.  Likewise the list of revoked certificates is the master's, and signed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gproc.trust.revocations import RevocationList
from gproc.trust.signing import Context, Keys, Signer, opened
from gproc.trust.stamp import date_text
from gproc.trust.tls import PeerName
from gproc.wire.messages import Signed


class Vetting:
    """What one process knows.  signed: the list of revoked certificates, to be passed on; None: there is none."""

    def __init__(self, keys: Keys, clock_s: Callable[[], float]) -> None:
        """clock_s: seconds that only rise; its zero does not matter."""
        self._keys = keys
        self._clock_s = clock_s
        self._ahead_s: float | None = None
        """The master's date, less our clock."""
        self.signed: Signed | None = None
        self._take(RevocationList())

    @property
    def number(self) -> int:
        """The number of the list that is known; 0: none."""
        return self._number

    def heard(self, date_s: float) -> None:
        """The master has signed that this is the date now, in Unix time; 0: it did not say."""
        if date_s > 0:
            self._ahead_s = date_s - self._clock_s()

    def date_s(self) -> float | None:
        """The master's date; None if it is not known."""
        return None if self._ahead_s is None else self._ahead_s + self._clock_s()

    def learn(self, signed: Signed) -> bool:
        """Take a list, if it is newer than the one that is known.  Returns whether it is.  Raises: TicketRefused."""
        found = opened(Context.REVOCATIONS, signed, self._keys, _decoder)
        if found.number <= self._number:
            return False
        self.signed = signed
        self._take(found)
        return True

    def objection(self, peer: PeerName) -> str:
        """Why this certificate does not count; "" if it does."""
        date_s = self.date_s()
        if peer.role == "node" and (why := self.revoked(peer.name, peer.serial, peer.issued_s)):
            return why
        if date_s is None or date_s <= peer.expires_s:
            return ""
        return (
            f"the certificate of {peer.name} has expired on {date_text(peer.expires_s)} (by the master's clock it is "
            f"{date_text(date_s)}): `gproc key issue {peer.name}` on the front end makes another, or `gproc start`"
        )

    def revoked(self, name: str, serial: str, issued_s: int) -> str:
        """Why the node's certificate of this name, serial and date of issue is revoked; "" if it is not."""
        until_s = self._names.get(name.lower())
        if until_s is not None and issued_s <= until_s:
            when = f" on {date_text(until_s)}"
        elif serial and serial in self._serials:
            when = ""
        else:
            return ""
        return (
            f"the certificate of {name} was revoked{when}: if the host is to be trusted again, "
            f"`gproc key issue {name}` on the front end makes another"
        )

    def _take(self, found: RevocationList) -> None:
        self._number = found.number
        self._names = {name.lower(): until_s for name, until_s in found.names}
        self._serials = {serial for serial, _ in found.serials}


def sign_list(signer: Signer, found: RevocationList) -> Signed:
    return signer.sign(Context.REVOCATIONS, found)


_decoder = msgspec.msgpack.Decoder(RevocationList)
