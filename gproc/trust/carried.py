"""A node's keys as bytes: made on the front end, and carried over ssh, or in one file.

Those that came over ssh are kept in the node's memory and in no file there.  OpenSSL reads keys from files.  On the
node they lie in memory files, memfd_create(2), which no other user can open and which end with the process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from gproc.errors import TrustError
from gproc.trust.authority import Authority, issue
from gproc.trust.certfile import (
    CA_CERTIFICATE,
    TICKET_PUBLIC,
    ca_file,
    cluster_in,
    generation_in,
    name_in,
    stamp_in,
)
from gproc.trust.certificates import pem_in
from gproc.trust.home import SECRET_MODE, check_private, read_file
from gproc.trust.identity import Identity
from gproc.trust.keyfile import PUBLIC_HEADER, decode_key, key_in
from gproc.trust.ledger import Kind
from gproc.trust.names import parse_cert_name


class Credentials(msgspec.Struct, frozen=True):
    """What one node needs to join a cluster: its own key and certificate, and the cluster's public files."""

    ca: bytes
    ticket_public: bytes
    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Credentials(...)"  # so that no f-string writes a key into a log


def credentials_for(authority: Authority, name: str, addresses: Sequence[str], kind: Kind = "ssh") -> Credentials:
    """Raises: TrustError if the name or an address is malformed."""
    issued = issue(authority, "node", name, addresses, kind)
    public = [read_file(authority.path(name)) for name in (CA_CERTIFICATE, TICKET_PUBLIC)]
    return Credentials(public[0], public[1], issued.certificate, issued.key)


def one_file(credentials: Credentials) -> bytes:
    """All of them as the content of one file: `identity_of_file`."""
    return credentials.certificate + credentials.key + credentials.ca + credentials.ticket_public


def credentials_in(content: bytes, path: str) -> Credentials:
    """What `one_file` wrote.  Raises: TrustError, which names the path."""
    first_line, _, _ = content.partition(b"\n")
    key, ticket = key_in(content), content.find(PUBLIC_HEADER.encode())
    end = content.find(b"-----BEGIN PRIVATE KEY-----")
    if key is None or ticket < 0 or end < 0:
        raise TrustError(f"{path} is damaged: it is no file of `gproc key issue`")
    try:
        cluster = parse_cert_name(first_line.decode("ascii", "replace")).cluster
        ca = ca_file(cluster, pem_in(content[end:]), generation_in(content[:end]))
    except TrustError as error:
        raise TrustError(f"{path} is damaged: {error}") from error
    return Credentials(ca, content[ticket:], content[:end], key)


def identity_of_file(path: str) -> Identity:
    """The identity of a node whose keys are in one file.  Raises: TrustError; InsecureFile."""
    check_private(path)
    return msgspec.structs.replace(identity_in_memory(credentials_in(read_file(path), path)), source=path)


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
        stamp=stamp_in(credentials.certificate),
        generation=generation_in(credentials.certificate),
    )


def forget(identity: Identity) -> None:
    """Close the memory files of an identity that is not used any more."""
    for path in (identity.certificate, identity.key, identity.ca):
        directory, _, descriptor = path.rpartition("/")
        if directory == "/proc/self/fd":
            os.close(int(descriptor))


def _in_memory(name: str, content: bytes) -> str:
    descriptor = os.memfd_create(f"gproc-{name}")  # closed by execve(2): no program gets it
    os.fchmod(descriptor, SECRET_MODE)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return f"/proc/self/fd/{descriptor}"
