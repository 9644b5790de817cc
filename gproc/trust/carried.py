"""A node's keys as bytes: made on the front end, carried over ssh, kept in the node's memory and in no file there.

OpenSSL reads keys from files.  On the node they lie in memory files, memfd_create(2), which no other user can open and
which end with the process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from gproc.trust.authority import Authority, issue
from gproc.trust.certfile import CA_CERTIFICATE, TICKET_PUBLIC, cluster_in, name_in
from gproc.trust.home import SECRET_MODE, read_file
from gproc.trust.identity import Identity
from gproc.trust.keyfile import PUBLIC_HEADER, decode_key


class Credentials(msgspec.Struct, frozen=True):
    """What one node needs to join a cluster: its own key and certificate, and the cluster's public files."""

    ca: bytes
    ticket_public: bytes
    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Credentials(...)"  # so that no f-string writes a key into a log


def credentials_for(authority: Authority, name: str, addresses: Sequence[str]) -> Credentials:
    """Raises: TrustError if the name or an address is malformed."""
    issued = issue(authority, "node", name, addresses)
    public = [read_file(os.path.join(authority.home, name)) for name in (CA_CERTIFICATE, TICKET_PUBLIC)]
    return Credentials(public[0], public[1], issued.certificate, issued.key)


def identity_in_memory(credentials: Credentials) -> Identity:
    """Its paths stay valid while this process lives."""
    ca = _in_memory(CA_CERTIFICATE, credentials.ca)
    certificate = _in_memory("certificate", credentials.certificate)
    named = name_in(certificate)
    return Identity(
        cluster=cluster_in(ca),
        role=named.role,
        name=named.name,
        certificate=certificate,
        key=_in_memory("key", credentials.key),
        ca=ca,
        ticket_public=decode_key(PUBLIC_HEADER, credentials.ticket_public, TICKET_PUBLIC),
    )


def _in_memory(name: str, content: bytes) -> str:
    descriptor = os.memfd_create(f"gproc-{name}")  # closed by execve(2): no program gets it
    os.fchmod(descriptor, SECRET_MODE)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return f"/proc/self/fd/{descriptor}"
