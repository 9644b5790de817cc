"""The files of a cluster's keys and certificates, and the first lines of each certificate file.

A certificate is PEM, and RFC 7468 section 2 allows text before its first BEGIN.  gproc writes the certificate's name
and its dates there, so that a slave knows them without the cost of an X.509 parser.  Peers never see these lines: they
use what was signed.

A certificate that is renewed has its key behind it in the same file, so that both change together.
"""

from __future__ import annotations

import os
import re
from typing import Final

from gproc.errors import TrustError
from gproc.trust.home import read_file
from gproc.trust.names import SCHEME, CertName, ClusterId, parse_cert_name, parse_cluster_id
from gproc.trust.stamp import CertStamp, parse_stamp

CA_KEY: Final = "ca.key"
CA_CERTIFICATE: Final = "ca.crt"
TICKET_KEY: Final = "ticket.key"
TICKET_PUBLIC: Final = "ticket.pub"
NODE_KEY: Final = "node.key"
NODE_CERTIFICATE: Final = "node.crt"
NODE_FILE: Final = "node.keys"
"""All that a node needs, in one file: `gproc key issue`."""
NEXT_KEYS: Final = "next"
"""The authority's directory with the keys that are to replace the present ones: `gproc.trust.rotation`."""


def with_first_line(first_line: str, pem: bytes) -> bytes:
    return f"{first_line}\n".encode() + pem


def certificate_file(name: CertName, stamp: CertStamp, pem: bytes, generation: int = 1) -> bytes:
    return f"{name.uri()}\n{stamp.line()}\n{_generation_line(generation)}".encode() + pem


def ca_file(cluster: ClusterId, pem: bytes, generation: int = 1) -> bytes:
    return f"{cluster_line(cluster)}\n{_generation_line(generation)}".encode() + pem


def _generation_line(generation: int) -> str:
    """The first keys of a cluster have none."""
    return f"generation {generation}\n" if generation > 1 else ""


def generation_in(content: bytes) -> int:
    """The generation of the cluster's keys to which a certificate belongs: how often they were exchanged, plus one."""
    head = content.partition(b"-----BEGIN")[0]
    found = re.search(rb"^generation (\d{1,9})$", head, re.MULTILINE)
    return int(found[1]) if found else 1


def cluster_line(cluster: ClusterId) -> str:
    return f"{SCHEME}{cluster}"


def cluster_in(path: str) -> ClusterId:
    """The cluster of the CA certificate at `path`.  Raises: TrustError."""
    if not os.path.exists(path):
        raise TrustError(f"{path} is missing: give it back from a backup (`gproc key restore FILE`)")
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


def parsed_name(content: bytes) -> CertName:
    """The name in a certificate file's content.  Raises: TrustError."""
    return parse_cert_name(content.partition(b"\n")[0].decode("ascii", "replace"))


def stamp_in(content: bytes) -> CertStamp | None:
    """Serial and dates of the certificate in a file's content; None if gproc 0.1 made it, which wrote none."""
    lines = content.split(b"\n", 2)
    return parse_stamp(lines[1].decode("ascii", "replace")) if len(lines) > 1 else None


def _first_line(path: str) -> str:
    return read_file(path).partition(b"\n")[0].decode("ascii", "replace")
