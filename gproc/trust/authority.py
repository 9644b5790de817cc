"""The cluster's authority on the front end: its CA, and the seed that signs tickets.

Files in `$GPROC_HOME`: ca.key and ca.crt (X.509), ticket.key and ticket.pub (Ed25519), all made together.  ca.key is
written last: if it exists, so do the others.  `cryptography` takes tens of megabytes, so only functions that make a
certificate import it.

Nothing depends on clocks: certificates are valid from 1970 to the end of 9999, which means "no expiration" by RFC 5280
4.1.2.5.  To take a node out, make a new cluster: remove ca.key and run `gproc m`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gproc.errors import TrustError
from gproc.trust.certfile import (
    CA_CERTIFICATE,
    CA_KEY,
    NODE_CERTIFICATE,
    NODE_KEY,
    TICKET_KEY,
    TICKET_PUBLIC,
    cluster_in,
    cluster_line,
    name_in,
    with_first_line,
)
from gproc.trust.home import HOME_MODE, PUBLIC_MODE, SECRET_MODE, check_private, locked, read_file, write_file
from gproc.trust.keyfile import KEY_BYTES, PUBLIC_HEADER, SEED_HEADER, decode_key, encode_key
from gproc.trust.names import CLUSTER_ID_BYTES, CertName, CertRole, ClusterId, check_host_name, parse_cluster_id

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec


class Authority(msgspec.Struct, frozen=True):
    """A cluster whose keys are on this machine.  It holds their directory, never the keys."""

    home: str
    cluster: ClusterId

    def ticket_seed(self) -> bytes:
        """The secret for `ticket.Signer`."""
        path = os.path.join(self.home, TICKET_KEY)
        check_private(path)
        return decode_key(SEED_HEADER, read_file(path), path)


class Issued(msgspec.Struct, frozen=True):
    """A certificate (its first line is its name, see certfile) and its key, both PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Issued(...)"  # so that no f-string writes a key into a log


def has_authority(home: str) -> bool:
    return os.path.exists(os.path.join(home, CA_KEY))


def open_authority(home: str, create: bool) -> Authority:
    """The authority in `home`.  If there is none and `create` is true, it is made, by only one of concurrent callers.

    Raises: TrustError if there is none and `create` is false, or if `home` belongs to a provisioned node; InsecureFile.
    """
    if not has_authority(home):
        if not create:
            raise TrustError(f"{home} holds no cluster's keys: run `gproc m` once on the front end, it makes them")
        with locked(home):
            if not has_authority(home):
                _create(home)
    check_private(os.path.join(home, CA_KEY))
    return Authority(home, cluster_in(os.path.join(home, CA_CERTIFICATE)))


def issue(authority: Authority, role: CertRole, name: str, addresses: Sequence[str]) -> Issued:
    """A new key and a certificate for host `name`, which others dial by that name or at `addresses`.

    Raises: TrustError if the name or an address is malformed.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    check_host_name(name)
    ca_key = _load_ca_key(authority)
    ca = x509.load_pem_x509_certificate(read_file(os.path.join(authority.home, CA_CERTIFICATE)))
    key = _new_key()
    identity = CertName(authority.cluster, role, name)
    # A master never dials: without clientAuth, its certificate is refused if it comes from the dialling side.
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    if role == "node":
        usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    names = [
        x509.UniformResourceIdentifier(identity.uri()),
        x509.DNSName(name),
        *_ip_names(addresses),
    ]
    # The subject is empty: all names are in the SAN, which RFC 5280 4.2.1.6 then requires to be critical.
    builder = (
        _builder(x509.Name([]), ca.subject, key)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    certificate = with_first_line(identity.uri(), _signed(builder, ca_key))
    return Issued(certificate, _private_pem(key))


def provision(authority: Authority, name: str, addresses: Sequence[str], directory: str) -> None:
    """Write into `directory` (made 0700) everything that node `name` needs in its `$GPROC_HOME`, with only its own key.

    The certificate is written last: if it exists, so does the rest.
    """
    issued = issue(authority, "node", name, addresses)
    try:
        os.makedirs(directory, HOME_MODE, exist_ok=True)
    except OSError as error:
        raise TrustError(f"cannot make {directory}: {error.strerror}") from error
    for public in (CA_CERTIFICATE, TICKET_PUBLIC):
        write_file(os.path.join(directory, public), read_file(os.path.join(authority.home, public)), PUBLIC_MODE)
    write_file(os.path.join(directory, NODE_KEY), issued.key, SECRET_MODE)
    write_file(os.path.join(directory, NODE_CERTIFICATE), issued.certificate, PUBLIC_MODE)


def _create(home: str) -> None:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    node = os.path.join(home, NODE_CERTIFICATE)
    if os.path.exists(node):
        raise TrustError(
            f"this machine is {name_in(node)} of a cluster ({node}): run `gproc m` on that cluster's front end, "
            "or set GPROC_HOME to another directory to make a new cluster"
        )
    from nacl.bindings import crypto_sign_seed_keypair

    cluster = parse_cluster_id(os.urandom(CLUSTER_ID_BYTES).hex())
    key = _new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"gproc {cluster}")])
    builder = (
        _builder(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    seed = os.urandom(KEY_BYTES)
    public, _ = crypto_sign_seed_keypair(seed)
    for name, data, mode in (
        (TICKET_KEY, encode_key(SEED_HEADER, seed), SECRET_MODE),
        (TICKET_PUBLIC, encode_key(PUBLIC_HEADER, public), PUBLIC_MODE),
        (CA_CERTIFICATE, with_first_line(cluster_line(cluster), _signed(builder, key)), PUBLIC_MODE),
        (CA_KEY, _private_pem(key), SECRET_MODE),
    ):
        write_file(os.path.join(home, name), data, mode)


def _new_key() -> ec.EllipticCurvePrivateKey:
    # A mutual TLS 1.3 handshake takes 1.50-1.62 ms with P-256 and 1.58-2.21 ms with Ed25519: CPU of both ends, median
    # of 400, three rounds (OpenSSL 3.0, x86-64).  Every OpenSSL has P-256, FIPS builds too.
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _load_ca_key(authority: Authority) -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = os.path.join(authority.home, CA_KEY)
    check_private(path)
    try:
        key = load_pem_private_key(read_file(path), password=None)
    except (ValueError, TypeError) as error:
        raise TrustError(f"{path} is damaged: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError(f"{path} was not made by gproc: it is a key for another algorithm")
    return key


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    from datetime import datetime

    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1970, 1, 1))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _ip_names(addresses: Sequence[str]) -> list[x509.IPAddress]:
    from ipaddress import ip_address

    from cryptography import x509

    try:
        return [x509.IPAddress(ip_address(address)) for address in addresses]
    except ValueError as error:
        raise TrustError(f"a certificate cannot contain this address: {error}") from error


def _signed(builder: x509.CertificateBuilder, ca_key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    return builder.sign(ca_key, SHA256()).public_bytes(Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
