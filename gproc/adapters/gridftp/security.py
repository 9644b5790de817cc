"""Certificates of the cluster for registrations: the identity of this machine, and of the other end."""

from __future__ import annotations

import os
import socket
import time

from gproc.addresses import own_addresses
from gproc.errors import TrustError
from gproc.trust.home import gproc_home
from gproc.trust.identity import Identity, load_identity
from gproc.trust.revocations import is_revoked, read_revocations
from gproc.trust.stamp import date_text
from gproc.trust.tls import ExpectedParent, PeerName, check_parent, peer_name


def own_identity() -> Identity:
    """Raises: TrustError, which says what is missing, and that -G n does without."""
    name = socket.gethostname()
    try:
        return load_identity(gproc_home(os.environ), "node", name, own_addresses(name, ""))
    except TrustError as error:
        raise TrustError(f"{error}; or say -G n, and anybody may register") from error


def node_name(tls: object, own: Identity) -> PeerName:
    """The names in the certificate that a data node has shown.  Raises: TrustError if it is none of this cluster's."""
    peer = _peer(tls)
    if peer.cluster != own.cluster or peer.role != "node":
        raise TrustError(f"{peer} of cluster {peer.cluster} is no node of this cluster")
    return peer


def check_frontend(tls: object, host: str, own: Identity) -> None:
    """Raises: TrustError if the other end is not the host that was dialled."""
    check_parent(_peer(tls), ExpectedParent(host, None, is_master=False), own)


def _peer(tls: object) -> PeerName:
    """No master signs the date here: this machine's clock says what has expired, its `$GPROC_HOME` what is revoked."""
    peer = peer_name(tls)  # type: ignore[arg-type]  # asyncio has no type for what it calls "ssl_object"
    if peer.expires_s < time.time():
        raise TrustError(f"the certificate of {peer.name} has expired on {date_text(peer.expires_s)}")
    revoked = read_revocations(gproc_home(os.environ))
    if peer.role == "node" and is_revoked(revoked, peer.name, peer.serial, peer.issued_s):
        raise TrustError(f"the certificate of {peer.name} was revoked")
    return peer
