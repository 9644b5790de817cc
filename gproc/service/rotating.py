"""What the master does while the cluster's keys are exchanged: it tells all nodes, and at the end signs by the new.

A person says `gproc key rotate`, and later `gproc key rotate finish`.  Both only change files; the master looks at
these once each second: `gproc.trust.rotation`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from gproc.errors import TrustError
from gproc.shown import reason_of, shown_text
from gproc.trust.authority import Authority, next_authority
from gproc.trust.endpoint import Endpoint
from gproc.trust.identity import Identity
from gproc.trust.signing import Signer
from gproc.trust.succession import Succession, sign_retirement, sign_succession
from gproc.wire.messages import Signed

log = logging.getLogger("gproc")


class KeyHolders(Protocol):
    """What follows from other keys in the master."""

    def learn_keys(self, signed: Signed) -> None: ...

    def pass_keys_end(self, signed: Signed) -> None: ...

    def look_at_keys(self) -> None:
        """Other certificates of nodes count now."""

    def sign_again(self) -> None:
        """What was signed for jobs that run needs another signature."""


class Rotation:
    """One master's.  reissue: the master's own identity, made anew if its keys are old."""

    def __init__(
        self, authority: Authority, endpoint: Endpoint, signer: Signer, reissue: Callable[[], Identity],
        holders: KeyHolders,
    ) -> None:  # fmt: skip
        self._authority = authority
        self._endpoint = endpoint
        self._signer = signer
        self._reissue = reissue
        self._holders = holders
        self._complained = ""
        if endpoint.identity.generation > 1:
            endpoint.retirement = sign_retirement(signer, endpoint.identity.generation)

    async def look(self) -> None:
        """Do what is to be done, if a person has exchanged keys."""
        try:
            following = next_authority(self._authority)
            if following is not None:
                if self._endpoint.succession is None:
                    self._announce(following)
            elif self._authority.generation > self._endpoint.identity.generation:
                await self._end()
            self._complained = ""
        except (OSError, TrustError) as error:
            if (said := shown_text(reason_of(error))) != self._complained:
                self._complained = said
                log.error("the cluster's keys cannot be exchanged: %s", said)

    def _announce(self, following: Authority) -> None:
        found = Succession(following.generation, following.ca_certificate(), following.ticket_public())
        self._holders.learn_keys(sign_succession(self._signer, found))
        self._holders.look_at_keys()
        log.info("the cluster has new keys, generation %d: all nodes are told", following.generation)

    async def _end(self) -> None:
        identity = await asyncio.to_thread(self._reissue)
        self._signer.become(Signer(self._authority.ticket_seed()))
        retirement = sign_retirement(self._signer, identity.generation)
        self._endpoint.succeed(identity, retirement)
        self._holders.look_at_keys()
        self._holders.sign_again()
        self._holders.pass_keys_end(retirement)
        log.info("the cluster's old keys have ended: generation %d is the only one", identity.generation)
