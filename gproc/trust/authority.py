"""The cluster's authority on the front end: its CA, and the seed that signs tickets.

Files in `$GPROC_HOME`: ca.key and ca.crt (X.509), ticket.key and ticket.pub (Ed25519), all made together.  ca.key is
written last: if it exists, so do the others.  Beside them are `issued` (`gproc.trust.ledger`) and `revoked`
(`gproc.trust.revocations`).

The CA's certificate has no end; those that it signs last 90 days.  `gproc.trust.vetting` judges that, and says by which
clock.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from gproc.disk.trusted import leads_nowhere
from gproc.errors import TrustError
from gproc.trust.certfile import (
    CA_CERTIFICATE,
    CA_KEY,
    NEXT_KEYS,
    NODE_CERTIFICATE,
    NODE_KEY,
    TICKET_KEY,
    TICKET_PUBLIC,
    ca_file,
    certificate_file,
    cluster_in,
    generation_in,
    name_in,
)
from gproc.trust.certificates import certify, new_ca
from gproc.trust.home import (
    HOME_MODE,
    PUBLIC_MODE,
    SECRET_MODE,
    check_key,
    check_private,
    locked,
    read_file,
    write_file,
)
from gproc.trust.keyfile import KEY_BYTES, PUBLIC_HEADER, SEED_HEADER, decode_key, encode_key, key_pem
from gproc.trust.ledger import ISSUING, LEDGER, Kind, check_clock, issued, note, strike_off
from gproc.trust.names import CLUSTER_ID_BYTES, CertName, CertRole, ClusterId, check_host_name, parse_cluster_id
from gproc.trust.revocations import read_revocations
from gproc.trust.stamp import LIFETIME_S, CertStamp, date_text


class Authority(msgspec.Struct, frozen=True):
    """A cluster whose keys are on this machine.  It holds their directory, never the keys.

    lifetime_s: of the certificates that it issues.  keys: the directory of the keys; "" is `home`, which has the lists
    of what was issued and revoked too.
    """

    home: str
    cluster: ClusterId
    lifetime_s: float = LIFETIME_S
    keys: str = ""

    def path(self, name: str) -> str:
        """The path of one of the cluster's keys."""
        return os.path.join(self.keys or self.home, name)

    def ticket_seed(self) -> bytes:
        """The secret for `ticket.Signer`."""
        path = self.path(TICKET_KEY)
        check_private(path)
        return decode_key(SEED_HEADER, read_file(path), path)

    def ticket_public(self) -> bytes:
        path = self.path(TICKET_PUBLIC)
        return decode_key(PUBLIC_HEADER, read_file(path), path)

    def ca_certificate(self) -> bytes:
        return read_file(self.path(CA_CERTIFICATE))

    @property
    def generation(self) -> int:
        """How often the cluster's keys were exchanged, and one."""
        return generation_in(self.ca_certificate())


class Issued(msgspec.Struct, frozen=True):
    """A certificate (before it are lines for people and slaves, see certfile) and its key, both PEM."""

    certificate: bytes
    key: bytes
    stamp: CertStamp

    def __repr__(self) -> str:
        return "Issued(...)"  # so that no f-string writes a key into a log


def has_authority(home: str) -> bool:
    return os.path.lexists(os.path.join(home, CA_KEY))


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
    if os.path.exists(os.path.join(home, NEXT_KEYS)):
        from gproc.trust.rotation import complete_rotation  # it imports this module

        complete_rotation(home)
    if leads_nowhere(key := os.path.join(home, CA_KEY)):
        raise TrustError(f"{key} is a link, and the cluster's key that it leads to is not there: is its disk mounted?")
    check_key(key)
    return Authority(home, cluster_in(os.path.join(home, CA_CERTIFICATE)), _lifetime_s())


def next_authority(authority: Authority) -> Authority | None:
    """The keys that are to replace the present ones; None if there are none."""
    keys = os.path.join(authority.home, NEXT_KEYS)
    return replace(authority, keys=keys) if has_authority(keys) else None


def issue(authority: Authority, role: CertRole, name: str, addresses: Sequence[str], kind: Kind = "file") -> Issued:
    """A new key and a certificate for host `name`, which others dial by that name or at `addresses`.

    Raises: TrustError if the name or an address is malformed.
    """
    from nacl.bindings import crypto_sign_seed_keypair

    seed = os.urandom(KEY_BYTES)
    public, _ = crypto_sign_seed_keypair(seed)
    certificate, stamp = issue_for(authority, role, name, addresses, public, kind)
    return Issued(certificate, key_pem(seed), stamp)


def issue_for(
    authority: Authority, role: CertRole, name: str, addresses: Sequence[str], public_key: bytes, kind: Kind
) -> tuple[bytes, CertStamp]:
    """A certificate for a key whose owner has shown that it has it.  Raises: as `issue`."""
    check_host_name(name)
    path = authority.path(CA_KEY)
    check_private(path)
    identity = CertName(authority.cluster, role, name)
    with locked(authority.home, ISSUING):
        check_clock(authority.home, time.time())
        if kind == "ssh":
            _check_trusted(authority.home, name)
        # A date later than that of a revocation of this host, even within the same second.
        revoked = dict(read_revocations(authority.home).names)
        issued_s = max(int(time.time()), revoked.get(name, -1) + 1)
        certificate, stamp = certify(
            authority.ca_certificate(), read_file(path), identity, public_key, addresses,
            issued_s, issued_s + int(authority.lifetime_s),
        )  # fmt: skip
        generation = authority.generation
        note(authority.home, name, role, stamp, kind, generation)
    return certificate_file(identity, stamp, certificate, generation), stamp


@contextlib.contextmanager
def handing_over(authority: Authority, stamp: CertStamp) -> Iterator[None]:
    """The block gives a new certificate to those for whom it is, as a file that is written whole or not at all.

    If it cannot, nobody has the certificate, so it is taken off the list: `gproc key list` would show it as good, and
    `gproc start` would trust a host again that was revoked before.
    """
    try:
        yield
    except TrustError:
        # If the list cannot be written either, the line stays, which is no danger; why the file could not be is told.
        with contextlib.suppress(TrustError), locked(authority.home, ISSUING):
            strike_off(authority.home, stamp.serial)
        raise


def _check_trusted(home: str, name: str) -> None:
    """Raises: TrustError if a host was revoked, and nobody has given it another certificate since.

    `gproc start --failed` may run by itself at night, and a host that was revoked is one that has failed.
    """
    until_s = dict(read_revocations(home).names).get(name)
    if until_s is not None and not any(entry.name == name and entry.issued_s > until_s for entry in issued(home)):
        raise TrustError(
            f"{name} was revoked on {date_text(until_s)}: if it is to be trusted again, say `gproc key issue {name}` "
            "first"
        )


def provision(authority: Authority, name: str, addresses: Sequence[str], directory: str) -> None:
    """Write into `directory` (made 0700) everything that node `name` needs in its `$GPROC_HOME`, with only its own key.

    The certificate is written last: if it exists, so does the rest.
    """
    issued = issue(authority, "node", name, addresses, "cert")
    with handing_over(authority, issued.stamp):
        try:
            os.makedirs(directory, HOME_MODE, exist_ok=True)
        except OSError as error:
            raise TrustError(f"cannot make {directory}: {error.strerror}") from error
        for public in (CA_CERTIFICATE, TICKET_PUBLIC):
            write_file(os.path.join(directory, public), read_file(authority.path(public)), PUBLIC_MODE)
        write_file(os.path.join(directory, NODE_KEY), issued.key, SECRET_MODE)
        write_file(os.path.join(directory, NODE_CERTIFICATE), issued.certificate, PUBLIC_MODE)


def _create(home: str) -> None:
    certificate, node = os.path.join(home, CA_CERTIFICATE), os.path.join(home, NODE_CERTIFICATE)
    if os.path.lexists(certificate) and os.path.exists(os.path.join(home, LEDGER)):
        # Without a ledger nothing was ever issued: a first `gproc m` was cut off.
        raise TrustError(
            f"{os.path.join(home, CA_KEY)} is missing, the key of a cluster whose certificates are in use: give it "
            "back from a backup (`gproc key restore FILE`); for a new cluster, of which all nodes need new keys, "
            f"remove {certificate} too"
        )
    if os.path.lexists(node):
        raise TrustError(
            f"this machine is {name_in(node)} of a cluster ({node}): run `gproc m` on that cluster's front end, "
            "or set GPROC_HOME to another directory to make a new cluster"
        )
    make_keys(home, parse_cluster_id(os.urandom(CLUSTER_ID_BYTES).hex()), 1)


def make_keys(directory: str, cluster: ClusterId, generation: int) -> None:
    """Write a cluster's keys, the CA's own last."""
    from nacl.bindings import crypto_sign_seed_keypair

    certificate, key = new_ca(cluster, generation)
    seed = os.urandom(KEY_BYTES)
    public, _ = crypto_sign_seed_keypair(seed)
    for name, data, mode in (
        (TICKET_KEY, encode_key(SEED_HEADER, seed), SECRET_MODE),
        (TICKET_PUBLIC, encode_key(PUBLIC_HEADER, public), PUBLIC_MODE),
        (CA_CERTIFICATE, ca_file(cluster, certificate, generation), PUBLIC_MODE),
        (CA_KEY, key, SECRET_MODE),
    ):
        write_file(os.path.join(directory, name), data, mode)


def _lifetime_s() -> float:
    """GPROC_LIFETIME_S is for tests of renewal, which cannot wait for 60 days."""
    try:
        return max(1.0, float(os.environ.get("GPROC_LIFETIME_S", LIFETIME_S)))
    except ValueError:
        return LIFETIME_S
