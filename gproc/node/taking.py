"""Takes the jobs that the parent sends, if the master has signed them for this node; says which it does not take."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from gproc.errors import GprocError, TrustError
from gproc.link.connection import Link
from gproc.link.refusals import Refusals
from gproc.node.admitted import Admitted
from gproc.node.services import LocalServices
from gproc.node.uplink import Uplink
from gproc.node.voice import Voice
from gproc.node.warded import warded_program
from gproc.relay.belonging import NODES_BELOW_MAX
from gproc.relay.neighbours import Downstream
from gproc.relay.relayed_job import RelayedJob
from gproc.shown import shown_text
from gproc.trust.signing import TicketRefused
from gproc.trust.ticket import Ticket, TicketVerifier
from gproc.wire.branch import Branch
from gproc.wire.endings import RankEnded
from gproc.wire.messages import Run

if TYPE_CHECKING:
    from gproc.policy.warden import Warden

log = logging.getLogger("gproc")


class JobTaker:
    """One slave's."""

    def __init__(
        self, verifier: TicketVerifier, voice: Voice, warden: Warden, services: LocalServices, uplink: Uplink
    ) -> None:
        self._verifier = verifier
        self._voice = voice
        self._warden = warden
        self._services = services
        self._uplink = uplink
        self._refusals = Refusals()

    def take(self, link: Link, run: Run) -> Admitted | None:
        """A job that may run here or below; None: it may not, which `link` has been told."""
        try:
            ticket, refused = self._admit(run)
        except TrustError as error:
            self._not_taken(link, run, run.branch.ranks(), error)
            return None
        if refused is not None and not run.branch.children:
            self._refuse(link, run, ticket, refused)
            return None
        return Admitted(ticket, self._verifier.words_of(ticket), refused)

    def _admit(self, run: Run) -> tuple[Ticket, TrustError | None]:
        """The ticket, and why it may only be passed on, if so.  Raises: TrustError if it may not."""
        refused = None
        try:
            ticket = self._verifier.admit(run.ticket)
        except TicketRefused as error:
            # That this node has no lease now is as final: the master takes the rank for lost then, and may have sent
            # the job once more before.
            ticket, refused = self._verifier.read(run.ticket), error
        if ticket.job != run.job:
            raise TrustError(f"a ticket for job {ticket.job} that came as job {run.job}")
        return ticket, refused

    def own_part(self, link: Link, run: Run, relayed: RelayedJob, admitted: Admitted) -> dict[Downstream, Branch]:
        """What this node itself does of a job; empty if it only relays it."""
        if run.branch.rank < 0:
            return {}
        warden, services, place = self._warden, self._services, self._services.place
        try:
            program = admitted.begin(
                self._verifier, run.turn,
                lambda: warded_program(warden, services, relayed, admitted.ticket, admitted.words, place),
            )  # fmt: skip
        except TrustError as error:
            if admitted.refused is None:
                self._not_taken(link, run, [run.branch.rank], error)
            else:
                self._refuse(link, run, admitted.ticket, error)
            return {}
        return {program: Branch(run.branch.rank, {}, run.branch.said)}

    def _refuse(self, link: Link, run: Run, ticket: Ticket, error: GprocError) -> None:
        """No program of this job begins here, now or later: that is signed, and holds if the job comes again."""
        self.log_refusal(error)
        self._verifier.never_admit(ticket)
        link.send(self._voice.refused(self._verifier.session, run, shown_text(str(error))))

    def _not_taken(self, link: Link, run: Run, ranks: list[int], error: GprocError) -> None:
        """The job is not signed by the master, or not for now.  It may still come as it should, so the refusal is not
        signed."""
        self.log_refusal(error)
        # A parent that names millions would have each answered; an honest one names nodes that are below it.
        for rank in ranks[: NODES_BELOW_MAX + 1]:
            link.send(RankEnded(run.job, rank, None, shown_text(str(error))))

    def log_refusal(self, error: GprocError) -> None:
        """The parent has passed on something that the master did not sign, or did not sign for this node and now."""
        if self._refusals.may_log(self._uplink.where, time.monotonic()):
            log.warning("refused from %s: %s", self._uplink.where, error)
