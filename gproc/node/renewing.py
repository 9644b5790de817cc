"""A slave renews its certificate while it runs: it asks the master, and puts the answer where the old one came from."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable
from typing import Final

from gproc.errors import GprocError, TrustError
from gproc.node.succeeding import Succeeding
from gproc.node.voice import question
from gproc.shown import shown_text
from gproc.trust.carried import Credentials, forget, one_file
from gproc.trust.certfile import NODE_FILE
from gproc.trust.endpoint import Endpoint
from gproc.trust.home import SECRET_MODE, read_file, write_file
from gproc.trust.identity import is_due, reload_identity
from gproc.trust.lease import Lease, boottime_s
from gproc.trust.renewal import NewKey, read_answer
from gproc.trust.stamp import RENEWED_PART, date_text
from gproc.wire.credentials import AskCertificate
from gproc.wire.messages import Signed

log = logging.getLogger("gproc")

SPREAD: Final = 0.2
"""The part of the time for renewal over which nodes that were started together spread their questions."""

AGAIN_S: Final = 60.0
"""The most seconds until a question that had no answer is asked again."""

AGAIN_PART: Final = 12
"""Or this many questions in the life of a certificate, if the time between them is then less, as in tests."""


class Renewing:
    """One slave's.  send: to the parent.  rejoin: leaves the parent for a moment, and has a reason for the log."""

    def __init__(
        self, endpoint: Endpoint, send: Callable[[AskCertificate], None],
        rejoin: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._endpoint = endpoint
        self._succeeding = Succeeding(endpoint, send, rejoin)
        self._send = send
        self._part = RENEWED_PART * (1 - SPREAD * random.random())
        self._key: NewKey | None = None
        self._again_s = 0.0
        self._withheld = False
        """Whether the last lease has named a newer list than the one that is known here."""
        self._asking: asyncio.Task[None] | None = None

    def heard(self, lease: Lease) -> str:
        """The master has sent a lease, so there is a way to it: ask for the next certificate, if it is time.

        Returns why the parent must be left, "" if it need not: it has twice not passed on the list of revoked ones.
        """
        vetting = self._endpoint.vetting
        vetting.heard(lease.date_s)
        withheld, self._withheld = self._withheld, lease.revocations > vetting.number
        if withheld and self._withheld:
            self._withheld = False
            return "it does not pass on the master's list of revoked certificates"
        self._tick(lease.session)
        return ""

    def _tick(self, session: bytes) -> None:
        self._endpoint.refresh()
        self._succeeding.ask_if_due(session)
        stamp, date_s = self._endpoint.identity.stamp, self._endpoint.vetting.date_s()
        if date_s is None or not is_due(stamp, date_s, self._part) or boottime_s() < self._again_s:
            return
        pause_s = AGAIN_S if stamp is None else min(AGAIN_S, stamp.life_s / AGAIN_PART)
        self._again_s = boottime_s() + pause_s * random.uniform(0.5, 1)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(session))

    def close(self) -> None:
        self._succeeding.close()
        if self._asking is not None:
            self._asking.cancel()

    def succeed(self, retirement: Signed) -> None:
        """The cluster's old keys have ended."""
        self._succeeding.succeed(retirement)

    async def _ask(self, session: bytes) -> None:
        if self._key is None:
            self._key = NewKey()
        try:
            asked = await question(self._endpoint.identity, self._key, session)
        except GprocError as error:
            log.warning("the certificate cannot be renewed: %s", shown_text(str(error)))
            return
        log.debug("the certificate is to be renewed: the master is asked")
        self._send(asked)

    def accept(self, answer: Signed, session: bytes | None) -> None:
        """Take the master's answer.  Raises: TrustError if it is none, or cannot be used."""
        if session is None:
            return
        found = read_answer(answer, self._endpoint.keys, session)
        if self._succeeding.accept(found) or self._key is None:
            return  # if it is for nothing that is asked, it was asked twice
        former = self._endpoint.identity
        credentials, identity = self._key.identity(
            found, former, read_file(former.ca), former.ticket_public, former.generation
        )
        try:
            self._endpoint.renew(identity)
        except TrustError:
            forget(identity)
            raise
        self._key = None
        if former.source:
            self._keep(credentials, former.source)
        else:
            forget(former)
        stamp = self._endpoint.identity.stamp
        log.info("the certificate was renewed: it lasts until %s", "?" if stamp is None else date_text(stamp.expires_s))

    def _keep(self, credentials: Credentials, source: str) -> None:
        """Put it into the file that had the former one."""
        in_memory = self._endpoint.identity
        whole = credentials.certificate + credentials.key
        if os.path.basename(source) == NODE_FILE:
            whole = one_file(credentials)
        try:
            write_file(source, whole, SECRET_MODE)
            self._endpoint.renew(reload_identity(source, in_memory.role))
        except TrustError as error:
            log.warning("the new certificate is in memory alone: %s", shown_text(str(error)))
            return
        forget(in_memory)
