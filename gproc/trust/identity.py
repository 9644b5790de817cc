"""The certificate that this machine shows.

On the front end, which has the CA's key, a missing certificate is made at once as ROLE-HOST.crt.  A node shows the
node.crt that it was provisioned with, no matter what its host name is today.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from gproc.errors import TrustError
from gproc.trust.authority import Authority, has_authority, issue, open_authority
from gproc.trust.certfile import CA_CERTIFICATE, NODE_CERTIFICATE, NODE_KEY, TICKET_PUBLIC, cluster_in, name_in
from gproc.trust.home import PUBLIC_MODE, SECRET_MODE, check_private, locked, read_file, write_file
from gproc.trust.keyfile import PUBLIC_HEADER, decode_key
from gproc.trust.names import CertRole, ClusterId, check_host_name


class Identity(msgspec.Struct, frozen=True):
    """The identity of this process in its cluster.  certificate, key and ca are paths; ticket_public has 32 bytes."""

    cluster: ClusterId
    role: CertRole
    name: str
    certificate: str
    key: str
    ca: str
    ticket_public: bytes


def load_identity(home: str, role: CertRole, name: str, addresses: Sequence[str] = ()) -> Identity:
    """The identity of this machine in `home`, in `role`.

    `name` and `addresses` are used only if a certificate must be made; an existing one is taken as it is.
    On a provisioned node, the identity has the name in the certificate.

    Raises: TrustError, which says what to run; InsecureFile.
    """
    if has_authority(home):
        check_host_name(name)
        authority = open_authority(home, create=False)
        certificate = os.path.join(home, f"{role}-{name}.crt")
        key = os.path.join(home, f"{role}-{name}.key")
        if not _is_of(authority, certificate):
            _issue_here(authority, role, name, addresses, certificate, key)
    else:
        certificate = os.path.join(home, NODE_CERTIFICATE)
        key = os.path.join(home, NODE_KEY)
        if role == "master" or not os.path.exists(certificate):
            raise TrustError(_what_is_missing(home, role, name))
    return _identity(home, role, certificate, key)


def _is_of(authority: Authority, certificate: str) -> bool:
    """Whether the certificate exists and is of this cluster: the front end's keys may have been made anew."""
    return os.path.exists(certificate) and name_in(certificate).cluster == authority.cluster


def _issue_here(
    authority: Authority, role: CertRole, name: str, addresses: Sequence[str], certificate: str, key: str
) -> None:
    with locked(authority.home):
        if _is_of(authority, certificate):  # another process was first
            return
        issued = issue(authority, role, name, addresses)
        write_file(key, issued.key, SECRET_MODE)
        write_file(certificate, issued.certificate, PUBLIC_MODE)  # last: if it exists, so does its key


def _identity(home: str, role: CertRole, certificate: str, key: str) -> Identity:
    if not os.path.exists(key):
        raise TrustError(f"{certificate} exists but its key {key} does not: remove the certificate or restore the key")
    check_private(key)
    ca = os.path.join(home, CA_CERTIFICATE)
    ticket_public = os.path.join(home, TICKET_PUBLIC)
    named = name_in(certificate)
    cluster = cluster_in(ca)
    if named.cluster != cluster:
        raise TrustError(f"{certificate} is of another cluster than {ca}: remove it, or provision this node again")
    if named.role != role:
        raise TrustError(f"{certificate} is for a {named.role}, not for a {role}: remove it")
    return Identity(
        cluster=cluster,
        role=named.role,
        name=named.name,
        certificate=certificate,
        key=key,
        ca=ca,
        ticket_public=decode_key(PUBLIC_HEADER, read_file(ticket_public), ticket_public),
    )


def _what_is_missing(home: str, role: CertRole, name: str) -> str:
    if role == "master":
        return f"{home} holds no cluster's keys, so no master can run from it: run `gproc m` on the front end"
    return (
        f"{home} holds no certificate for this node: on the front end run `gproc m` once, "
        f"then scripts/copytonodes.sh (or `gproc cert {name}`) for this node"
    )
