"""A program of this node, if the machine's policy allows it; its start, end or refusal is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gproc.errors import TrustError
from gproc.node.program import Program
from gproc.node.services import LocalServices
from gproc.nodespec import Place, format_path
from gproc.relay.relayed_job import RelayedJob
from gproc.request.outcome import Outcome
from gproc.trust.orders import JobWords
from gproc.trust.ticket import Ticket

if TYPE_CHECKING:
    from gproc.policy.warden import Warden


def warded_program(
    warden: Warden, services: LocalServices, relayed: RelayedJob, ticket: Ticket, words: JobWords, place: Place
) -> Program:
    """The program of a ticket that may run at this place.  Raises: TrustError if the policy forbids it."""
    job, caller, request, here = ticket.job, ticket.caller, ticket.request, format_path(place)
    try:
        allowed = replace(ticket, request=warden.allow(caller, request, [place]))
    except TrustError as error:
        warden.refused(job, caller, request, here, str(error))
        raise
    begun = False

    async def admit() -> None:
        nonlocal begun
        try:
            await warden.check_account(caller)
        except TrustError as error:
            warden.refused(job, caller, request, here, str(error))
            raise
        warden.began(job, caller, request, here)
        begun = True

    def ended(outcome: Outcome) -> None:
        if begun:
            warden.ended(job, caller, here, {outcome.kind: 1}, outcome.status)

    return Program(services, relayed, allowed, words, admit, ended)
