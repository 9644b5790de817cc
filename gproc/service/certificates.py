"""What the master does for certificates while it runs: it tells all nodes which are revoked, and renews those that will
end."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from gproc.errors import TrustError
from gproc.link.allowance import Allowance
from gproc.service.rotating import Rotation
from gproc.shown import reason_of, shown_text
from gproc.trust.authority import Authority, issue_for, next_authority
from gproc.trust.certificates import check_shown
from gproc.trust.endpoint import Endpoint
from gproc.trust.identity import Identity, is_due
from gproc.trust.ledger import issued
from gproc.trust.renewal import RenewalAnswer, check_proof, subject
from gproc.trust.revocations import REVOKED, RevocationList, read_revocations
from gproc.trust.signing import Context, Signer
from gproc.trust.stamp import RENEWED_PART, date_text
from gproc.trust.vetting import Vetting, sign_list
from gproc.wire.credentials import AskCertificate, Certified
from gproc.wire.messages import Signed

log = logging.getLogger("gproc")

LOOK_S: Final = 1.0
"""Seconds between two looks whether the list of revoked certificates has changed: all nodes obey within five."""

WAITING_MAX: Final = 256
"""Questions for certificates that wait: a tenth of a second's work.  A node whose question is dropped asks again."""

EARLY_PART: Final = 1 / 2
"""A certificate is renewed when at most this part of its life is left; nodes ask at a third."""

SUCCESSORS_MAX: Final = 8
"""The most successors of one certificate: a slave that is started again before it could use one asks for another."""

REMEMBERED_MAX: Final = 20_000
"""Certificates whose successors are remembered: 300 bytes each."""

_NO_LIST: Final = (0, 0)

LINES: Final = 50
LINE_S: Final = 10.0
"""Log lines about refused questions."""


class CertificateDesk:
    """One master's.  revoked: called with each new list of revoked certificates, which the master has signed."""

    def __init__(
        self, authority: Authority, endpoint: Endpoint, signer: Signer, session: bytes,
        reissue: Callable[[], Identity], revoked: Callable[[Signed], None], rotation: Rotation,
    ) -> None:  # fmt: skip
        """reissue: the master's own identity, made anew if it will end soon."""
        self.rotation = rotation
        self._authority = authority
        self._endpoint = endpoint
        self._signer = signer
        self._session = session
        self._reissue = reissue
        self._revoked = revoked
        self._seen: tuple[int, int] | None = None
        self._waiting: asyncio.Queue[tuple[AskCertificate, str, Callable[[Certified], None]]] = asyncio.Queue(
            WAITING_MAX
        )
        self._successors: OrderedDict[str, dict[bytes, bytes]] = OrderedDict()
        self._lines = Allowance(LINES, LINE_S, time.monotonic())
        self._dates: dict[str, int] = {}

    def issued_s(self, serial: str) -> int:
        """When a certificate was issued; 0 for one that is not known, as those of gproc 0.1."""
        if serial and serial not in self._dates:
            self._dates = {entry.serial: entry.issued_s for entry in issued(self._authority.home)}
        return self._dates.get(serial, 0)

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_watch())
            group.create_task(self._serve())

    def ask(self, question: AskCertificate, name: str, answer: Callable[[Certified], None]) -> None:
        """A node asks for its next certificate.  name: of the node at its route, as the tree knows it."""
        try:
            self._waiting.put_nowait((question, name, answer))
        except asyncio.QueueFull:
            self._say("more questions for certificates than can wait: nodes ask again")

    def learn(self) -> None:
        """Learn the list of revoked certificates, if it has changed.

        Raises: TrustError, once for each change, if there is one that cannot be used: what is known still counts.
        """
        path = os.path.join(self._authority.home, REVOKED)
        try:
            status = os.stat(path)
            seen = (status.st_ino, status.st_mtime_ns)
        except OSError:
            seen = (0, 1 if os.path.lexists(path) else 0)
        if seen == (self._seen or _NO_LIST):
            return
        self._seen = seen
        if seen == _NO_LIST:
            log.warning("%s is gone: what was revoked stays so until this master ends", path)
            return
        self._tell(read_revocations(self._authority.home))

    def look(self) -> None:
        """The same, and say in the log what is wrong."""
        try:
            self.learn()
        except TrustError as error:
            log.error("%s", shown_text(str(error)))

    def _tell(self, found: RevocationList) -> None:
        log.info("%d hosts and %d certificates are revoked", len(found.names), len(found.serials))
        self._dates = {}
        self._revoked(sign_list(self._signer, found))

    async def _keep_watch(self) -> None:
        while True:
            self._endpoint.vetting.heard(time.time())
            await self.rotation.look()
            self.look()
            if is_due(self._endpoint.identity.stamp, time.time()):
                await self._renew_own()
            await asyncio.sleep(LOOK_S)

    async def _renew_own(self) -> None:
        try:
            self._endpoint.renew(await asyncio.to_thread(self._reissue))
        except (OSError, TrustError) as error:
            self._say(f"the master's own certificate cannot be renewed: {reason_of(error)}")
            return
        stamp = self._endpoint.identity.stamp
        if stamp is not None:
            log.info("the master's certificate was renewed: it lasts until %s", date_text(stamp.expires_s))

    async def _serve(self) -> None:
        while True:
            question, name, answer = await self._waiting.get()
            given = await asyncio.to_thread(self._decide, question, name)
            if given.reason:
                self._say(f"no new certificate for {name}: {given.reason}")
            answer(Certified(question.route, self._signer.sign(Context.CERTIFICATE, given)))

    def _decide(self, question: AskCertificate, name: str) -> RenewalAnswer:
        """In a thread: `cryptography` takes 0.1 s to import, and each certificate 0.4 ms."""
        try:
            return RenewalAnswer(self._session, question.key, self._renewed(question, name))
        except (OSError, TrustError) as error:
            return RenewalAnswer(self._session, question.key, b"", shown_text(reason_of(error))[:500])

    def _renewed(self, question: AskCertificate, name: str) -> bytes:
        """Raises: TrustError if the node gets none."""
        data = subject(self._session, question.key)
        check_proof(question.key, data, question.proof)
        following = next_authority(self._authority)
        # One of the next keys gets no further one of them: else eight could ask for eight each, without end.
        each = (self._authority,) if following is None or question.following else (self._authority, following)
        cas = [one.ca_certificate() for one in each]
        shown = check_shown(cas, question.certificate, data, question.signature)
        if (shown.name.cluster, shown.name.role) != (self._authority.cluster, "node"):
            raise TrustError(f"its certificate is of {shown.name}, and only nodes renew theirs")
        if shown.name.name != name:
            raise TrustError(f"its certificate is of {shown.name.name}")
        stamp = shown.stamp
        vetting: Vetting = self._endpoint.vetting
        if why := vetting.revoked(name, stamp.serial, stamp.issued_s):
            raise TrustError(why)
        now_s = time.time()
        endless = stamp.issued_s == 0
        if question.following and following is None:
            raise TrustError("the cluster's keys are not being exchanged")
        if not question.following and not endless and not is_due(stamp, now_s, EARLY_PART):
            raise TrustError(f"its certificate lasts until {date_text(stamp.expires_s)}, so it is too early")
        if now_s > stamp.expires_s + RENEWED_PART * stamp.life_s:
            raise TrustError(f"its certificate has expired on {date_text(stamp.expires_s)}, which is too long ago")
        signing = following if question.following and following is not None else self._authority
        which = f"{stamp.serial} {signing.keys}"
        given = self._successors.setdefault(which, {})
        self._successors.move_to_end(which)
        if question.key not in given:
            if len(given) >= SUCCESSORS_MAX:
                raise TrustError(f"its certificate was renewed {SUCCESSORS_MAX} times already")
            given[question.key], _ = issue_for(signing, "node", name, shown.addresses, question.key, "renewed")
        while len(self._successors) > REMEMBERED_MAX:
            self._successors.popitem(last=False)
        return given[question.key]

    def _say(self, text: str) -> None:
        if self._lines.take_one(time.monotonic()):
            log.warning("%s", shown_text(text))
