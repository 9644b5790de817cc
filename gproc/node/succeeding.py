"""A slave's part when the cluster's keys are exchanged: it gets a certificate of the new ones, and then shows that one.

It asks for it as for any other certificate, keeps it beside the present one, in the file `next.keys` (or in memory, if
the present one is), and puts it into the present one's place when the master says that the old keys end.  Then it joins
its parent anew, so that no connection is left that the old keys vouch for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from gproc.errors import GprocError, TrustError
from gproc.node.voice import question
from gproc.shown import reason_of, shown_text
from gproc.trust.carried import Credentials, forget, identity_of_file, one_file
from gproc.trust.certfile import CA_KEY, NODE_FILE
from gproc.trust.endpoint import Endpoint
from gproc.trust.home import SECRET_MODE, locked, read_file, write_file
from gproc.trust.identity import Identity, is_due, reload_identity
from gproc.trust.keyfile import PUBLIC_HEADER, encode_key
from gproc.trust.lease import boottime_s
from gproc.trust.renewal import NewKey, RenewalAnswer
from gproc.trust.succession import Succession
from gproc.wire.credentials import AskCertificate
from gproc.wire.messages import Signed

log = logging.getLogger("gproc")

AGAIN_S: Final = 60.0
"""The most seconds until a question that had no answer is asked again."""

REJOIN_S: Final = 5.0
"""Seconds over which nodes spread their joining anew when the old keys have ended."""

HERE: Final = "a certificate of the cluster's new keys is here; the present one is shown until the old keys end"
ANEW: Final = "joining anew with a certificate of the cluster's new keys"


class Succeeding:
    """One slave's.  send: to the parent.  rejoin: leaves the parent for a moment; the reason is for the log."""

    def __init__(
        self, endpoint: Endpoint, send: Callable[[AskCertificate], None], rejoin: Callable[[str], None]
    ) -> None:
        self._endpoint = endpoint
        self._send = send
        self._rejoin = rejoin
        self._key: NewKey | None = None
        self._again_s = 0.0
        self._asking: asyncio.Task[None] | None = None

    def ask_if_due(self, session: bytes) -> None:
        """Ask for a certificate of the next keys, if there are some and it has none that lasts."""
        endpoint = self._endpoint
        if endpoint.succession is None or boottime_s() < self._again_s:
            return
        following, date_s = endpoint.following, endpoint.vetting.date_s()
        if following is not None and (date_s is None or not is_due(following.stamp, date_s)):
            return
        found = following_of(endpoint.identity)
        if found is not None and self._fits(found) and (date_s is None or not is_due(found.stamp, date_s)):
            endpoint.hold(found)  # another slave of this machine was first
            log.info(HERE)
            return
        self._again_s = boottime_s() + AGAIN_S * random.uniform(0.5, 1)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(session))

    def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, session: bytes) -> None:
        if self._key is None:
            self._key = NewKey()
        try:
            asked = await question(self._endpoint.identity, self._key, session, following=True)
        except GprocError as error:
            log.warning("no certificate of the new keys: %s", shown_text(str(error)))
            return
        self._send(asked)

    def accept(self, answer: RenewalAnswer) -> bool:
        """Take the master's answer, if it is for us.  Raises: TrustError if it cannot be used."""
        if self._key is None or answer.key != self._key.public:
            return False
        successor, own = self._endpoint.successor, self._endpoint.identity
        if successor is None:
            return True  # it came too late
        credentials, found = self._key.identity(
            answer, own, successor.ca, successor.ticket_public, successor.generation
        )
        self._endpoint.hold(found)
        self._key = None
        if own.source:
            self._keep(credentials, found, successor)
        log.info(HERE)
        return True

    def _keep(self, credentials: Credentials, found: Identity, successor: Succession) -> None:
        path = following_path(self._endpoint.identity.source)
        public = encode_key(PUBLIC_HEADER, successor.ticket_public)
        whole = one_file(Credentials(successor.ca, public, credentials.certificate, credentials.key))
        try:
            write_file(path, whole, SECRET_MODE)
            self._endpoint.hold(identity_of_file(path))
        except TrustError as error:
            log.warning("the certificate of the new keys is in memory alone: %s", shown_text(str(error)))
            return
        forget(found)

    def _fits(self, found: Identity) -> bool:
        successor = self._endpoint.successor
        return successor is not None and found.ticket_public == successor.ticket_public

    def succeed(self, signed: Signed) -> None:
        """The old keys have ended: from now on the new ones alone count."""
        former, found = self._endpoint.identity, self._endpoint.following
        if found is None:
            log.warning(
                "the cluster's old keys have ended, and this node has no certificate of the new ones: "
                "`gproc key issue %s` on the front end makes one", former.name,
            )  # fmt: skip
            return
        if former.source:
            found = self._put_in_place(former, found)
        self._endpoint.succeed(found, signed)
        log.info("the cluster's old keys have ended: this node has generation %d", found.generation)
        loop = asyncio.get_running_loop()
        loop.call_later(random.uniform(0, REJOIN_S), self._rejoin, ANEW)

    def _put_in_place(self, former: Identity, found: Identity) -> Identity:
        """Into the file that slaves of this machine read.  Another one of them may have been first."""
        home = os.path.dirname(former.source)
        here = os.path.exists(os.path.join(home, CA_KEY))  # the front end: the cluster's new keys are in place already
        target = former.source if here else os.path.join(home, NODE_FILE)
        try:
            with locked(home):
                if not _is_in_place(target, found):
                    whole = _credentials(found)
                    content = whole.certificate + whole.key if here else one_file(whole)
                    write_file(target, content, SECRET_MODE)
                placed = reload_identity(target, former.role)
                if os.path.exists(path := following_path(former.source)):
                    os.unlink(path)
        except (OSError, TrustError) as error:
            log.warning("the new certificate is in memory alone: %s", shown_text(reason_of(error)))
            return replace(found, source="")
        return placed


def _is_in_place(target: str, found: Identity) -> bool:
    try:
        return reload_identity(target, found.role).ticket_public == found.ticket_public
    except (OSError, TrustError):
        return False


def _credentials(found: Identity) -> Credentials:
    public = encode_key(PUBLIC_HEADER, found.ticket_public)
    return Credentials(read_file(found.ca), public, read_file(found.certificate), read_file(found.key))


def following_path(source: str) -> str:
    """The file of the certificate of the next keys, beside that of the present one."""
    name = os.path.basename(source)
    home = os.path.dirname(source)
    if os.path.exists(os.path.join(home, CA_KEY)):
        return os.path.join(home, f"{name}.next")
    return os.path.join(home, "next.keys")


def following_of(identity: Identity) -> Identity | None:
    """The certificate of the next keys that is kept beside this one; None if there is none that can be used."""
    if not identity.source or not os.path.exists(path := following_path(identity.source)):
        return None
    try:
        found = identity_of_file(path)
    except (OSError, TrustError) as error:
        log.warning("%s is not used: %s", path, shown_text(reason_of(error)))
        return None
    fits = (found.cluster, found.role, found.name) == (identity.cluster, identity.role, identity.name)
    return found if fits and found.generation == identity.generation + 1 else None
