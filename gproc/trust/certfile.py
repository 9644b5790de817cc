"""The files of a cluster's keys and certificates, and the first line of each certificate file.

A certificate is PEM, and RFC 7468 section 2 allows text before its first BEGIN.  gproc writes the certificate's name
there, so that a slave knows its own name without the cost of an X.509 parser.  Peers never see this line: they use the
signed name.
"""

from __future__ import annotations

from typing import Final

from gproc.errors import TrustError
from gproc.trust.home import read_file
from gproc.trust.names import SCHEME, CertName, ClusterId, parse_cert_name, parse_cluster_id

CA_KEY: Final = "ca.key"
CA_CERTIFICATE: Final = "ca.crt"
TICKET_KEY: Final = "ticket.key"
TICKET_PUBLIC: Final = "ticket.pub"
NODE_KEY: Final = "node.key"
NODE_CERTIFICATE: Final = "node.crt"


def with_first_line(first_line: str, pem: bytes) -> bytes:
    return f"{first_line}\n".encode() + pem


def cluster_line(cluster: ClusterId) -> str:
    return f"{SCHEME}{cluster}"


def cluster_in(path: str) -> ClusterId:
    """The cluster of the CA certificate at `path`.  Raises: TrustError."""
    try:
        return parse_cluster_id(_first_line(path).removeprefix(SCHEME))
    except TrustError as error:
        raise TrustError(f"{path} was not made by gproc: its first line names no cluster") from error


def name_in(path: str) -> CertName:
    """The name in the certificate at `path`.  Raises: TrustError."""
    try:
        return parse_cert_name(_first_line(path))
    except TrustError as error:
        raise TrustError(f"{path} was not made by gproc: its first line names no node") from error


def _first_line(path: str) -> str:
    return read_file(path).partition(b"\n")[0].decode("ascii", "replace")
