"""Control messages about certificates: those that were revoked, and new ones for nodes whose own will end.  Pure.

They are like those of `gproc.wire.messages`, whose tags they share.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from gproc.wire.messages import Message, Route, Signed
from gproc.wire.tags import tag_of

CERTIFICATE_BYTES_MAX: Final = 4096
"""The limit of a certificate in PEM: one with a name of 253 characters and two addresses has 1,500."""


class Revocations(Message, frozen=True, tag=tag_of):
    """The list of revoked certificates, signed by the master, on its way to all nodes: `gproc.trust.vetting`."""

    list: Signed


class AskCertificate(Message, frozen=True, tag=tag_of):
    """The node at `route` asks the master for its next certificate: `gproc.trust.renewal`.

    certificate: the one that it has, PEM.  key: its new public key, Ed25519.
    signature: of the old key over session and new key.  proof: the same by the new key.
    following: it wants one of the cluster's next keys, beside the one that it has: `gproc.trust.succession`.
    """

    route: Route
    certificate: Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]
    key: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    signature: Annotated[bytes, msgspec.Meta(max_length=128)]
    proof: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
    following: bool = False


class Certified(Message, frozen=True, tag=tag_of):
    """The master's signed answer to AskCertificate, on its way to the node at the end of `route`."""

    route: Route
    answer: Signed


class NewKeys(Message, frozen=True, tag=tag_of):
    """The keys that will replace those of the cluster, signed by the present ones, on their way to all nodes."""

    succession: Signed


class OldKeysEnd(Message, frozen=True, tag=tag_of):
    """The cluster's new keys are the only ones from now on, signed by them, on its way to all nodes."""

    retirement: Signed
