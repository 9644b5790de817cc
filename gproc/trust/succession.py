"""The exchange of the cluster's keys, as the master tells it to nodes: first the new ones, then the old ones' end.

The old keys sign the new ones, so a node believes them as it believes a ticket.  The new ones sign the end of the old.
Keys have a number, their generation, and each replaces the one before it.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from gproc.errors import TrustError
from gproc.trust.keyfile import KEY_BYTES
from gproc.trust.signing import Context, Keys, Signer, opened
from gproc.wire.messages import Signed

CA_BYTES_MAX: Final = 4096
"""The limit of a CA's certificate in PEM: it has 700."""

Generation = Annotated[int, msgspec.Meta(ge=2, le=10**9 - 1)]


class Succession(msgspec.Struct, frozen=True, array_like=True):
    """The keys that will replace the present ones.  ca: its certificate, PEM, with its first lines."""

    generation: Generation
    ca: Annotated[bytes, msgspec.Meta(max_length=CA_BYTES_MAX)]
    ticket_public: Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]


class Retirement(msgspec.Struct, frozen=True, array_like=True):
    """Says that from now on the keys of this generation alone count."""

    generation: Generation


class WrongGeneration(TrustError):
    """Keys that do not follow those that a node has."""

    def __init__(self, generation: int, own: int) -> None:
        super().__init__(generation, own)
        self.generation = generation
        self.own = own

    def __str__(self) -> str:
        return f"keys of generation {self.generation} of the cluster, and this node has those of generation {self.own}"


class OtherSuccessor(TrustError):
    """Two different keys are signed as the next ones: somebody else has the cluster's keys."""

    def __str__(self) -> str:
        return "other new keys of the cluster than those that are known: somebody else may have its present ones"


def sign_succession(signer: Signer, found: Succession) -> Signed:
    return signer.sign(Context.NEW_KEYS, found)


def read_succession(signed: Signed, keys: Keys) -> Succession:
    """Raises: TicketRefused."""
    return opened(Context.NEW_KEYS, signed, keys, _successions)


def sign_retirement(signer: Signer, generation: int) -> Signed:
    return signer.sign(Context.OLD_KEYS_END, Retirement(generation))


def read_retirement(signed: Signed, keys: Keys) -> Retirement:
    """Raises: TicketRefused."""
    return opened(Context.OLD_KEYS_END, signed, keys, _retirements)


_successions = msgspec.msgpack.Decoder(Succession)
_retirements = msgspec.msgpack.Decoder(Retirement)
