"""The name in a certificate: `gproc://CLUSTER/ROLE/NAME`, its only URI subjectAltName of that scheme.  Pure."""

from __future__ import annotations

from typing import Final, Literal, NewType

import msgspec

from gproc.errors import TrustError
from gproc.shown import quoted_text

ClusterId = NewType("ClusterId", str)
CertRole = Literal["master", "node"]

CLUSTER_ID_BYTES: Final = 16
"""Random, so that no two clusters have the same id; written as hexadecimal digits."""

SCHEME: Final = "gproc://"

HOST_NAME_MAX: Final = 253
"""Characters in a DNS name: RFC 1035 2.3.4, without the length octets."""

_ROLES: Final[dict[str, CertRole]] = {"master": "master", "node": "node"}
_DIGITS: Final = frozenset("0123456789abcdef")
_ALPHANUMERIC: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_HOST_CHARACTERS: Final = _ALPHANUMERIC | frozenset("-._")


class CertName(msgspec.Struct, frozen=True):
    """The name in a certificate."""

    cluster: ClusterId
    role: CertRole
    name: str

    def uri(self) -> str:
        return f"{SCHEME}{self.cluster}/{self.role}/{self.name}"

    def __str__(self) -> str:
        return f"{self.role} {self.name}"


def parse_cert_name(uri: str) -> CertName:
    """Raises: TrustError if `uri` is not exactly what `CertName.uri` returns."""
    parts = uri.removeprefix(SCHEME).split("/")
    if not uri.startswith(SCHEME) or len(parts) != 3:
        raise TrustError(f"{quoted_text(uri)} is not a gproc name: expected {SCHEME}CLUSTER/ROLE/NAME")
    cluster, role, name = parts
    check_host_name(name)
    if role not in _ROLES:
        raise TrustError(f"{quoted_text(uri)} names the role {quoted_text(role)}: only master and node exist")
    return CertName(parse_cluster_id(cluster), _ROLES[role], name)


def parse_cluster_id(text: str) -> ClusterId:
    if len(text) != 2 * CLUSTER_ID_BYTES or not _DIGITS.issuperset(text):
        raise TrustError(f"{quoted_text(text)} is not a cluster id: expected {2 * CLUSTER_ID_BYTES} hexadecimal digits")
    return ClusterId(text)


def check_host_name(name: str) -> None:
    """Check that a name may be in a certificate and, unchanged, in a file name.

    Raises: TrustError if it is empty, too long, does not begin with a letter or digit ("..", "-x"), or has a character
    other than letters, digits, "-", "." and "_".
    """
    if not name or name[0] not in _ALPHANUMERIC or not _HOST_CHARACTERS.issuperset(name):
        raise TrustError(
            f"{quoted_text(name)} is not a host name: use letters, digits, '-', '.' and '_', "
            "beginning with a letter or digit"
        )
    if len(name) > HOST_NAME_MAX:
        raise TrustError(f"the host name {name[:20]}... has {len(name)} characters; the limit is {HOST_NAME_MAX}")
