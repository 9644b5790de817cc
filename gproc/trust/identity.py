"""The certificate that this machine shows.

On the front end, which has the CA's key, a missing certificate is made at once as ROLE-HOST.crt, and so is one that
will end soon.  A node shows the one that it was given, in node.keys or node.crt, no matter what its host name is today.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import msgspec

from gproc.errors import TrustError
from gproc.trust.authority import Authority, handing_over, has_authority, issue, open_authority
from gproc.trust.certfile import (
    CA_CERTIFICATE,
    NODE_CERTIFICATE,
    NODE_FILE,
    NODE_KEY,
    TICKET_PUBLIC,
    cluster_in,
    generation_in,
    name_in,
    stamp_in,
)
from gproc.trust.home import SECRET_MODE, check_private, locked, read_file, write_file
from gproc.trust.keyfile import PUBLIC_HEADER, decode_key, key_in
from gproc.trust.names import CertRole, ClusterId, check_host_name
from gproc.trust.revocations import is_revoked, read_revocations
from gproc.trust.stamp import RENEWED_PART, CertStamp


class Identity(msgspec.Struct, frozen=True):
    """The identity of this process in its cluster.  certificate, key and ca are paths; ticket_public has 32 bytes.

    stamp: serial and dates of the certificate; None if gproc 0.1 made it: then it has no end.
    source: the file that has certificate and key, where the next ones are written to; "": they are in memory alone.
    generation: of the cluster's keys: how often they were exchanged, and one.
    """

    cluster: ClusterId
    role: CertRole
    name: str
    certificate: str
    key: str
    ca: str
    ticket_public: bytes
    stamp: CertStamp | None = None
    source: str = ""
    generation: int = 1


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
        if not _is_good(authority, certificate):
            _issue_here(authority, role, name, addresses, certificate, key)
        return _identity(home, role, certificate, key)
    certificate = os.path.join(home, NODE_CERTIFICATE)
    one_file = os.path.join(home, NODE_FILE)
    if role == "node" and os.path.exists(one_file) and not _is_newer(certificate, one_file):
        from gproc.trust.carried import identity_of_file  # it imports this module's types

        return identity_of_file(one_file)
    if role == "master" or not os.path.exists(certificate):
        raise TrustError(_what_is_missing(home, role, name))
    return _identity(home, role, certificate, os.path.join(home, NODE_KEY))


def reload_identity(source: str, role: CertRole) -> Identity:
    """What the file `Identity.source` holds now.  Raises: TrustError."""
    home, file = os.path.split(source)
    if file == NODE_FILE:
        from gproc.trust.carried import identity_of_file

        return identity_of_file(source)
    return _identity(home, role, source, f"{source.removesuffix('.crt')}.key")


def is_due(stamp: CertStamp | None, now_s: float, part: float = RENEWED_PART) -> bool:
    """Whether no more than this part of a certificate's life is left."""
    return stamp is None or stamp.expires_s - now_s < part * stamp.life_s


def _is_newer(one: str, other: str) -> bool:
    """Whether both are there, and the first was issued after the second."""
    if not os.path.exists(one):
        return False
    stamps = [stamp_in(read_file(path)) for path in (one, other)]
    return stamps[0] is not None and (stamps[1] is None or stamps[0].issued_s > stamps[1].issued_s)


def _is_good(authority: Authority, certificate: str) -> bool:
    """Whether the certificate exists, is of this cluster (the front end's keys may have been made anew), and counts."""
    if not os.path.exists(certificate):
        return False
    content = read_file(certificate)
    named, stamp = name_in(certificate), stamp_in(content)
    if named.cluster != authority.cluster or stamp is None or is_due(stamp, time.time()):
        return False
    if generation_in(content) != authority.generation:
        return False  # the cluster's keys were exchanged while this machine's slave was away
    revoked = read_revocations(authority.home)
    return named.role != "node" or not is_revoked(revoked, named.name, stamp.serial, stamp.issued_s)


def _issue_here(
    authority: Authority, role: CertRole, name: str, addresses: Sequence[str], certificate: str, key: str
) -> None:
    with locked(authority.home):
        if _is_good(authority, certificate):  # another process was first
            return
        if os.path.exists(certificate) and stamp_in(read_file(certificate)) is None:
            import logging  # slaves of other machines need not import it for this

            logging.getLogger("gproc").info("%s has no end, as gproc 0.1 made them: it is replaced", certificate)
        issued = issue(authority, role, name, addresses, "front end")
        with handing_over(authority, issued.stamp):
            write_file(certificate, issued.certificate + issued.key, SECRET_MODE)
        if os.path.exists(key):
            os.unlink(key)  # the former one's


def _identity(home: str, role: CertRole, certificate: str, key: str) -> Identity:
    """key: its file, if it is not in that of the certificate."""
    content = read_file(certificate)
    if key_in(content) is not None:
        key = certificate
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
        stamp=stamp_in(content),
        source=certificate,
        generation=generation_in(content),
    )


def _what_is_missing(home: str, role: CertRole, name: str) -> str:
    if role == "master":
        return f"{home} holds no cluster's keys, so no master can run from it: run `gproc m` on the front end"
    return (
        f"{home} holds no certificate for this node: on the front end run `gproc m` once, "
        f"then scripts/copytonodes.sh (or `gproc key issue {name}`) for this node"
    )
