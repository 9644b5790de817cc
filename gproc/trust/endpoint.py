"""What this process shows to others, and how it checks them.  Its certificate is renewed while it runs.

So are the cluster's keys (`gproc.trust.succession`).  While both the present and the next ones count, a process
believes both, and shows the certificate of the present ones, which everybody knows.  If it is refused with that, it
shows the next one in turn: the old keys may have ended while it was away.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from gproc.errors import TrustError
from gproc.trust import tls
from gproc.trust.certificates import pem_in
from gproc.trust.home import read_file
from gproc.trust.identity import Identity, reload_identity
from gproc.trust.lease import boottime_s
from gproc.trust.signing import TrustedKeys
from gproc.trust.succession import (
    OtherSuccessor,
    Succession,
    WrongGeneration,
    read_retirement,
    read_succession,
)
from gproc.trust.vetting import Vetting
from gproc.wire.messages import Signed

if TYPE_CHECKING:
    import ssl


class Endpoint:
    """identity: what is shown.  server, client: TLS for connections to us, and from us.  vetting: which peers are
    refused.

    keys: by which the master signs.  successor: the next ones, if there are some; following: our certificate of them.
    succession, retirement: the master's words of that, to be passed on.
    Callers that make connections ask this object each time, because everything but `vetting` and `keys` may change.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext

    def __init__(self, identity: Identity, following: Identity | None = None) -> None:
        """Raises: TrustError if a file is damaged."""
        self.keys = TrustedKeys(identity.ticket_public)
        self.vetting = Vetting(self.keys, boottime_s)
        if identity.role == "master":
            self.vetting.heard(time.time())
        self.identity = identity
        self.successor: Succession | None = None
        self.following: Identity | None = None
        self.succession: Signed | None = None
        self.retirement: Signed | None = None
        self._shows_following = False
        if following is not None and following.generation == identity.generation + 1:
            self.following = following
            self.successor = Succession(following.generation, read_file(following.ca), following.ticket_public)
            self.keys.add(following.ticket_public)
        self.renew(identity)

    @property
    def shown(self) -> Identity:
        """What is shown to those that we dial."""
        return self.following if self._shows_following and self.following is not None else self.identity

    def renew(self, identity: Identity) -> None:
        """Show another certificate from now on; connections that are open go on.

        Raises: TrustError if it does not fit its key; then nothing has changed.
        """
        before, self.identity = self.identity, identity
        try:
            self._make_contexts()
        except TrustError:
            self.identity = before
            raise
        self._seen = _state_of(identity.source)

    def _make_contexts(self) -> None:
        more = () if self.successor is None else (pem_in(self.successor.ca),)
        dialling = self.shown
        others = (*more, pem_in(read_file(self.identity.ca))) if dialling is not self.identity else more
        server, client = tls.server_context(self.identity, *more), tls.client_context(dialling, *others)
        self.server, self.client = server, client

    def revoked(self) -> str:
        """Why our own certificate is revoked; "" if it is not."""
        stamp = self.identity.stamp
        serial, issued_s = ("", 0) if stamp is None else (stamp.serial, stamp.issued_s)
        return self.vetting.revoked(self.identity.name, serial, issued_s)

    def refresh(self) -> None:
        """If the file has changed, take what a person or another slave of this machine has put into it."""
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

    # The exchange of the cluster's keys

    def learn(self, signed: Signed) -> bool:
        """The master names the next keys.  Returns whether that is news for the nodes that we pass it on to.

        Raises: TrustError if the present keys have not signed this, or it does not follow what we have.
        """
        found = read_succession(signed, self.identity.ticket_public)
        if found.generation != self.identity.generation + 1:
            raise WrongGeneration(found.generation, self.identity.generation)
        if self.successor is not None and (self.successor.ticket_public, pem_in(self.successor.ca)) != (
            found.ticket_public, pem_in(found.ca)
        ):  # fmt: skip
            raise OtherSuccessor()
        if self.succession is not None:
            return False
        before, self.successor = self.successor, found
        try:
            self._make_contexts()
        except TrustError:
            self.successor = before
            raise
        self.succession = signed
        self.keys.add(found.ticket_public)
        return True

    def hold(self, following: Identity) -> None:
        """Our certificate of the next keys is here."""
        self.following = following
        self._make_contexts()

    def show_other(self) -> None:
        """We were not let in: show the other of our two certificates next time."""
        if self.following is not None:
            self._shows_following = not self._shows_following
            self._make_contexts()

    def retires(self, signed: Signed) -> bool:
        """Whether the master says that the present keys end, in favour of the next ones.

        Raises: TrustError if the next keys have not signed this.
        """
        if self.successor is None:
            own = self.identity
            found = read_retirement(signed, own.ticket_public)
            if found.generation != own.generation:
                raise WrongGeneration(found.generation, own.generation)
            self.retirement = self.retirement or signed
            return False
        found = read_retirement(signed, self.successor.ticket_public)
        if found.generation != self.successor.generation:
            raise WrongGeneration(found.generation, self.identity.generation)
        return True

    def succeed(self, identity: Identity, retirement: Signed) -> None:
        """The next keys are the only ones from now on, and this is our certificate of them."""
        self.successor = self.following = self.succession = None
        self._shows_following = False
        self.retirement = retirement
        self.keys.add(identity.ticket_public)
        self.keys.end_all_but(identity.ticket_public)
        self.renew(identity)


def _state_of(path: str) -> tuple[int, int, int] | None:
    """Changes whenever another file is renamed to that path; None if there is none."""
    if not path:
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
