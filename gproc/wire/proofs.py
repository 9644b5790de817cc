"""The proof by which the master believes a node's name: sent once, when the node joins.  Values only.  Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec


class KeyProof(msgspec.Struct, frozen=True, array_like=True):
    """The key with which one run of a slave signs how its programs end, shown to be that of a certificate's host.

    certificate: of the host, PEM.  key: of this run, Ed25519.
    signature: of the certificate's key over `"gproc run key\\0"`, the run's nonce and `key`.
    """

    certificate: Annotated[bytes, msgspec.Meta(max_length=4096)]
    key: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    signature: Annotated[bytes, msgspec.Meta(max_length=128)]
