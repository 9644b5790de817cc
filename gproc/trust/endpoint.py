"""What this process shows to others, and how it checks them.  Its certificate is renewed while it runs."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from gproc.errors import TrustError
from gproc.trust import tls
from gproc.trust.identity import Identity, reload_identity
from gproc.trust.lease import boottime_s
from gproc.trust.vetting import Vetting

if TYPE_CHECKING:
    import ssl


class Endpoint:
    """identity: what is shown.  server, client: TLS for connections to us, and from us.  vetting: who is refused.

    Those who make connections ask this object each time, because all but `vetting` change when the identity does.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext

    def __init__(self, identity: Identity) -> None:
        """Raises: TrustError if a file is damaged."""
        self.vetting = Vetting(identity.ticket_public, boottime_s)
        if identity.role == "master":
            self.vetting.heard(time.time())
        self.renew(identity)

    def renew(self, identity: Identity) -> None:
        """Show another certificate from now on; connections that are open go on.

        Raises: TrustError if it does not fit its key; then nothing has changed.
        """
        server, client = tls.server_context(identity), tls.client_context(identity)
        self.identity, self.server, self.client = identity, server, client
        self._seen = _state_of(identity.source)

    def revoked(self) -> str:
        """Why our own certificate is revoked; "" if it is not."""
        stamp = self.identity.stamp
        serial, issued_s = ("", 0) if stamp is None else (stamp.serial, stamp.issued_s)
        return self.vetting.revoked(self.identity.name, serial, issued_s)

    def refresh(self) -> None:
        """Take what another process has put into the file, if it has: a person, or another slave of this machine."""
        state = _state_of(self.identity.source)
        if state is None or state == self._seen:
            return
        self._seen = state
        own = self.identity
        try:
            found = reload_identity(own.source, own.role)
            if (found.cluster, found.name, found.ticket_public) == (own.cluster, own.name, own.ticket_public):
                self.renew(found)
        except TrustError:
            return  # it is being written, or is wrong: what we have is as good as before


def _state_of(path: str) -> tuple[int, int, int] | None:
    """Changes whenever another file is renamed to that path; None if there is none."""
    if not path:
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
