"""X.509: the CA's certificate, the nodes' certificates, and what may be believed of one that a peer shows.

`cryptography` takes tens of megabytes, so only functions that make or check a certificate import it, and only this
module does.  Slaves do neither: TLS checks what peers show, and the master signs what a node is given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from gproc.errors import TrustError
from gproc.trust.names import SCHEME, CertName, ClusterId, parse_cert_name
from gproc.trust.stamp import CertStamp

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

FOR_EVER_S: Final = 253402300799
"""The end of 9999, which means "no expiration" by RFC 5280 4.1.2.5: the CA's own end."""

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\n[^-]*-----END CERTIFICATE-----\n")


class Presented(msgspec.Struct, frozen=True):
    """A certificate that the cluster's CA has signed.  addresses: IP addresses in it, as text."""

    name: CertName
    stamp: CertStamp
    addresses: tuple[str, ...]


def pem_in(content: bytes) -> bytes:
    """The first certificate in a file's content, without the text before it.  Raises: TrustError."""
    found = _PEM.search(content)
    if found is None:
        raise TrustError("there is no certificate in it")
    return found[0]


def new_ca(cluster: ClusterId, generation: int = 1) -> tuple[bytes, bytes]:
    """A cluster's CA: its certificate and its key, PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    # Every OpenSSL has P-256, FIPS builds too.
    key = ec.generate_private_key(ec.SECP256R1())
    called = f"gproc {cluster}" if generation == 1 else f"gproc {cluster} {generation}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_date(0))
        .not_valid_after(_date(FOR_EVER_S))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    certificate = _signed(builder, key)
    return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certify(
    ca_certificate: bytes, ca_key: bytes, name: CertName, public_key: bytes, addresses: Sequence[str],
    issued_s: int, expires_s: int,
) -> tuple[bytes, CertStamp]:  # fmt: skip
    """A certificate, PEM, for an Ed25519 public key of 32 bytes.  Raises: TrustError."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.x509.oid import ExtendedKeyUsageOID

    signing = _private_key(ca_key)
    ca = x509.load_pem_x509_certificate(pem_in(ca_certificate))
    key = Ed25519PublicKey.from_public_bytes(public_key)
    # A master never dials: without clientAuth, its certificate is refused if it comes from the dialling side.
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    if name.role == "node":
        usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    names = [x509.UniformResourceIdentifier(name.uri()), x509.DNSName(name.name), *_ip_names(addresses)]
    serial = x509.random_serial_number()
    # The subject is empty: all names are in the SAN, which RFC 5280 4.2.1.6 then requires to be critical.
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(_date(issued_s))
        .not_valid_after(_date(expires_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    return _signed(builder, signing), CertStamp(_serial_text(serial), issued_s, expires_s)


def check_shown(ca_certificates: Sequence[bytes], pem: bytes, data: bytes, signature: bytes) -> Presented:
    """What a certificate of one of the CAs says, whose owner has signed `data`.

    Raises: TrustError if no CA signed it, or its owner not the data.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        certificate = x509.load_pem_x509_certificate(pem)
        known = [x509.load_pem_x509_certificate(pem_in(each)) for each in ca_certificates]
        # CAs of one cluster have different names.  Of another cluster's, the first one says what is wrong.
        ca = next((each for each in known if each.subject == certificate.issuer), known[0])
        certificate.verify_directly_issued_by(ca)
        key = certificate.public_key()
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, ec.EllipticCurvePublicKey):  # of gproc 0.1
            key.verify(signature, data, ec.ECDSA(SHA256()))
        else:
            raise TrustError("its key is none that gproc makes")
        return _shown(certificate)
    except InvalidSignature as error:
        raise TrustError("it is signed by another key") from error
    except (
        ValueError, TypeError, OverflowError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
        x509.ExtensionNotFound, x509.UnsupportedGeneralNameType,
    ) as error:  # fmt: skip
        raise TrustError(f"its certificate cannot be read: {type(error).__name__}") from error


def sign_with(key_pem: bytes, data: bytes) -> bytes:
    """A signature by a P-256 key, as `check_shown` wants it.  Raises: TrustError."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    return _private_key(key_pem).sign(data, ec.ECDSA(SHA256()))


def stamp_of(pem: bytes) -> CertStamp:
    """Raises: TrustError."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise TrustError("the certificate is damaged") from error
    return _stamp(certificate)


def _shown(certificate: x509.Certificate) -> Presented:
    from cryptography import x509

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ours = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(SCHEME)]
    if len(ours) != 1:
        raise TrustError(f"its certificate has {len(ours)} gproc names instead of one")
    addresses = tuple(str(address) for address in names.get_values_for_type(x509.IPAddress))
    return Presented(parse_cert_name(ours[0]), _stamp(certificate), addresses)


def _stamp(certificate: x509.Certificate) -> CertStamp:
    issued, expires = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return CertStamp(_serial_text(certificate.serial_number), int(issued.timestamp()), int(expires.timestamp()))


def _serial_text(serial: int) -> str:
    """As ssl.SSLSocket.getpeercert() has it: whole octets."""
    text = f"{serial:X}"
    return text if len(text) % 2 == 0 else f"0{text}"


def _date(unix_s: int) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise TrustError(f"the key of the CA (ca.key) is damaged: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError("the key of the CA (ca.key) was not made by gproc: it is for another algorithm")
    return key


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
