"""TLS between a parent and its child.  Only this module and `gproc.link.transport` import ssl.

Both ends show a certificate of the cluster's CA, and TLS checks only that.  Which *name* is right depends on the host
that was dialled, so `check_parent` checks it after the handshake, before a byte is used.  Whether it has expired or is
revoked depends on what the master says: `gproc.trust.vetting`.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Final, cast

import msgspec

from gproc.errors import TrustError
from gproc.trust.identity import Identity
from gproc.trust.names import SCHEME, CertName, parse_cert_name
from gproc.trust.stamp import parse_x509_date

LOOPBACK_NET: Final = 127
"""127.0.0.0/8 is this machine: RFC 1122 3.2.1.3."""


NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which ssl has no name for: include/openssl/x509_vfy.h."""


class PeerName(CertName, frozen=True):
    """The names in the other end's certificate; dns in lower case, addresses as inet_ntop(3) writes them.

    serial: in hexadecimal.  issued_s, expires_s: Unix time.
    """

    dns: tuple[str, ...]
    addresses: tuple[str, ...]
    serial: str = ""
    issued_s: int = 0
    expires_s: int = 0


class ExpectedParent(msgspec.Struct, frozen=True):
    """The parent that a slave means to dial.

    host: as dialled, a name or an address.
    name: the name that the certificate must have; None if `host` must be in it.
    is_master: it must be the master's; a cluster has only one, so its name does not matter.
    """

    host: str
    name: str | None
    is_master: bool


class WrongPeer(TrustError):
    """Another node of the same CA answered."""

    def __init__(self, expected: str, answered: str) -> None:
        super().__init__(expected, answered)
        self.expected = expected
        self.answered = answered

    def __str__(self) -> str:
        return (
            f"expected {self.expected} but {self.answered} answered: dial another address, or give the node that "
            "answers a certificate for this address (`gproc cert NAME --address ADDRESS`)"
        )


def server_context(identity: Identity, *more: bytes) -> ssl.SSLContext:
    """more: other CAs that the cluster has now, PEM."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, identity, more)
    # If the client closes before it has read a session ticket, the connection is reset.  gproc never resumes a session.
    context.num_tickets = 0
    return context


def client_context(identity: Identity, *more: bytes) -> ssl.SSLContext:
    """more: other CAs that the cluster has now, PEM."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, identity, more)


def _context(protocol: int, identity: Identity, more: tuple[bytes, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # check_parent also knows roles, and that loopback is this machine
    context.verify_mode = ssl.CERT_REQUIRED
    # Nodes boot with any date, and OpenSSL would go by it: `vetting` goes by the master's.
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | ssl.VERIFY_X509_STRICT | NO_CHECK_TIME)
    try:
        context.load_verify_locations(identity.ca)
        for ca in more:
            context.load_verify_locations(cadata=ca.decode("ascii", "replace"))
        context.load_cert_chain(identity.certificate, identity.key)
    except OSError as error:
        raise TrustError(
            f"{identity.certificate}, its key or {identity.ca} is damaged ({explain(error)}): "
            "remove the certificate on the front end, or give the node new keys by `gproc key issue`"
        ) from error
    return context


def peer_name(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> PeerName:
    """The names in the certificate that the other end has proved to own.

    Raises: TrustError if there is no certificate, or not exactly one gproc name in it.
    """
    certificate = ssl_object.getpeercert()
    if not certificate:
        raise TrustError("the other end did not show a certificate")
    names: dict[str, list[str]] = {"URI": [], "DNS": [], "IP Address": []}
    for kind, value in cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ())):
        names.setdefault(kind, []).append(value)
    ours = [uri for uri in names["URI"] if uri.startswith(SCHEME)]
    if len(ours) != 1:
        raise TrustError(f"the other end's certificate carries {len(ours)} gproc names instead of one")
    named = parse_cert_name(ours[0])
    return PeerName(
        cluster=named.cluster,
        role=named.role,
        name=named.name,
        dns=tuple(name.lower() for name in names["DNS"]),
        addresses=tuple(_canonical(address) for address in names["IP Address"]),
        serial=cast("str", certificate["serialNumber"]),
        issued_s=parse_x509_date(cast("str", certificate["notBefore"])),
        expires_s=parse_x509_date(cast("str", certificate["notAfter"])),
    )


def is_master(ssl_object: object) -> bool:
    """Whether the other end has proved that it is the cluster's master."""
    return isinstance(ssl_object, ssl.SSLObject | ssl.SSLSocket) and peer_name(ssl_object).role == "master"


def check_parent(peer: PeerName, expected: ExpectedParent, own: Identity) -> None:
    """Check that the peer is the parent that the slave dialled: a certificate of the CA alone gives no authority.

    Raises: WrongPeer, which says what was expected and who answered.
    """
    if peer.cluster != own.cluster:
        raise WrongPeer(f"a parent of cluster {own.cluster}", f"{peer} of cluster {peer.cluster}")
    if expected.is_master:
        fits = peer.role == "master"
        wanted = f"the master at {expected.host}"
    elif expected.name is not None:
        fits = peer.name.lower() == expected.name.lower()
        wanted = f"{expected.name} at {expected.host}"
    else:
        fits = _is_called(peer, expected.host) or (is_loopback(expected.host) and _same_host(peer, own))
        wanted = f"this machine, {own.name}," if is_loopback(expected.host) else f"a parent named {expected.host}"
    if not fits:
        raise WrongPeer(wanted, str(peer))


def _is_called(peer: PeerName, host: str) -> bool:
    called = _canonical(host)
    return called in (peer.name.lower(), *peer.dns, *peer.addresses)


def _same_host(peer: PeerName, own: Identity) -> bool:
    return peer.name.lower() == own.name.lower()


def is_loopback(host: str) -> bool:
    """Whether this name or address is this machine for every machine."""
    called = _canonical(host)
    if called in ("localhost", "::1"):
        return True
    try:
        return socket.inet_pton(socket.AF_INET, called)[0] == LOOPBACK_NET
    except OSError:
        return False


def _canonical(host: str) -> str:
    """An address in the form of inet_ntop(3), anything else in lower case."""
    bare = host.strip().partition("%")[0]  # fe80::1%eth0: the zone has a meaning only on this machine
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, bare))
        except (OSError, ValueError):
            continue
    return host.strip().lower()


_NOT_TLS: Final = "it does not speak TLS: is this a gproc port?"
_OLD_TLS: Final = "it does not offer TLS 1.3"
_FOREIGN: Final = "its certificate is of another cluster"
_WE_ARE_FOREIGN: Final = "it says that our certificate is of another cluster"
_NO_CERTIFICATE: Final = "it shows no certificate"
_WE_HAVE_NO_CERTIFICATE: Final = "it asks for a certificate and got none"
_CLOSED: Final = "it closed the connection during the TLS handshake"

_REASONS: Final = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "HTTPS_PROXY_REQUEST": _NOT_TLS,
    "UNEXPECTED_MESSAGE": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "BAD_RECORD_TYPE": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _OLD_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD_TLS,
    "NO_PROTOCOLS_AVAILABLE": _OLD_TLS,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": _NO_CERTIFICATE,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WE_HAVE_NO_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": _WE_ARE_FOREIGN,
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it refuses our certificate for this use",
    "TLSV1_ALERT_DECRYPT_ERROR": _WE_ARE_FOREIGN,
}
"""By reason codes of OpenSSL, ssl/ssl_err.c; "it" is the other end."""

_VERIFY_REASONS: Final = {
    7: _FOREIGN,  # X509_V_ERR_CERT_SIGNATURE_FAILURE
    18: _FOREIGN,  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    19: _FOREIGN,  # X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    20: _FOREIGN,  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: _FOREIGN,  # X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
    26: "its certificate is not for this use: a master does not dial",  # X509_V_ERR_INVALID_PURPOSE
    30: _FOREIGN,  # X509_V_ERR_AKID_SKID_MISMATCH
}
"""By error codes of OpenSSL, include/openssl/x509_vfy.h."""


def is_refusal(error: OSError) -> bool:
    """Whether a handshake failed because of what one end showed the other: it will fail again."""
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def explain(error: OSError) -> str:
    """Why a connection or its handshake failed, as a clause about the other end ("it ...") without a full stop."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_REASONS.get(error.verify_code, f"its certificate is refused: {error.verify_message}")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError | BrokenPipeError):
        return _CLOSED
    if isinstance(error, ssl.SSLError):
        return _REASONS.get(error.reason or "", f"TLS failed: {error.reason or error}")
    if error.errno is None:
        return str(error) or type(error).__name__
    return f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"
