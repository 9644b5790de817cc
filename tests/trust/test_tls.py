from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import msgspec
import pytest

from gproc.errors import TrustError
from gproc.trust.authority import Authority, issue, provision
from gproc.trust.identity import Identity, load_identity
from gproc.trust.names import ClusterId
from gproc.trust.tls import (
    ExpectedParent,
    PeerName,
    WrongPeer,
    check_parent,
    client_context,
    explain,
    peer_name,
    server_context,
)
from tests.patience import PATIENCE_S

Outcome = PeerName | OSError


def node_of(authority: Authority, name: str, directory: Path, *addresses: str) -> Identity:
    provision(authority, name, addresses, str(directory))
    return load_identity(str(directory), "node", name)


@pytest.fixture
def master(authority: Authority) -> Identity:
    return load_identity(authority.home, "master", "fe")


@pytest.fixture
def node(authority: Authority, tmp_path: Path) -> Identity:
    return node_of(authority, "kn7", tmp_path / "kn7", "10.1.30.7")


@pytest.fixture
def foreign_node(foreign_authority: Authority, tmp_path: Path) -> Identity:
    return node_of(foreign_authority, "kn7", tmp_path / "foreign-kn7", "10.1.30.7")


def meet(parent: ssl.SSLContext, child: ssl.SSLContext) -> tuple[Outcome, Outcome]:
    """What a listening parent and a dialling child each find about the other, after one byte."""
    outcomes: dict[str, Outcome] = {}

    def attempt(side: str, connection: socket.socket, context: ssl.SSLContext) -> None:
        connection.settimeout(PATIENCE_S)
        try:
            with context.wrap_socket(connection, server_side=side == "parent") as secured:
                if side == "parent":
                    secured.sendall(b"x")
                else:  # in TLS 1.3, only this read shows the dialling side that its certificate was refused
                    secured.recv(1)
                outcomes[side] = peer_name(secured)
        except OSError as error:
            outcomes[side] = error

    ours, theirs = socket.socketpair()
    with ours, theirs:
        listening = threading.Thread(target=attempt, args=("parent", ours, parent))
        listening.start()
        attempt("child", theirs, child)
        listening.join()
    return outcomes["parent"], outcomes["child"]


def plain_context(protocol: int) -> ssl.SSLContext:
    """The context of a stranger: it checks nothing and shows no certificate."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def dates(identity: Identity) -> tuple[str, int, int]:
    """Serial number, date of issue and end, as the first lines of the certificate's file say."""
    assert identity.stamp is not None
    return identity.stamp.serial, identity.stamp.issued_s, identity.stamp.expires_s


def reason(outcome: Outcome) -> str:
    assert isinstance(outcome, OSError), outcome
    return explain(outcome)


def test_a_parent_and_its_child_learn_each_others_name(master: Identity, node: Identity) -> None:
    child, parent = meet(server_context(master), client_context(node))
    assert child == PeerName(master.cluster, "node", "kn7", ("kn7",), ("10.1.30.7",), *dates(node))
    assert parent == PeerName(master.cluster, "master", "fe", ("fe",), (), *dates(master))


def test_a_rack_master_is_parent_to_a_node(authority: Authority, node: Identity, tmp_path: Path) -> None:
    rack = node_of(authority, "kn20", tmp_path / "kn20", "fd00::14")
    _, parent = meet(server_context(rack), client_context(node))
    assert isinstance(parent, PeerName)
    assert (parent.role, parent.name, parent.addresses) == ("node", "kn20", ("fd00::14",))


def test_a_child_without_a_certificate_is_refused(master: Identity) -> None:
    parents_view, childs_view = meet(server_context(master), plain_context(ssl.PROTOCOL_TLS_CLIENT))
    assert reason(parents_view) == "it shows no certificate"
    assert "certificate" in reason(childs_view)


def test_a_child_of_another_cluster_is_refused(master: Identity, foreign_node: Identity) -> None:
    blind = plain_context(ssl.PROTOCOL_TLS_CLIENT)
    blind.load_cert_chain(foreign_node.certificate, foreign_node.key)
    parents_view, childs_view = meet(server_context(master), blind)
    assert reason(parents_view) == "its certificate is of another cluster"
    assert reason(childs_view) == "it says that our certificate is of another cluster"


def test_a_parent_of_another_cluster_is_refused(master: Identity, foreign_node: Identity) -> None:
    parents_view, childs_view = meet(server_context(master), client_context(foreign_node))
    assert reason(childs_view) == "its certificate is of another cluster"
    assert reason(parents_view) == "it says that our certificate is of another cluster"


def test_a_ca_that_borrows_the_clusters_name_is_refused(
    master: Identity, foreign_authority: Authority, tmp_path: Path
) -> None:
    forger = msgspec.structs.replace(foreign_authority, cluster=master.cluster)
    forged = issue(forger, "node", "kn7", [])
    (tmp_path / "crt").write_bytes(forged.certificate)
    (tmp_path / "key").write_bytes(forged.key)
    blind = plain_context(ssl.PROTOCOL_TLS_CLIENT)
    blind.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    parents_view, _ = meet(server_context(master), blind)
    assert reason(parents_view) == "its certificate is of another cluster"


def test_a_nodes_certificate_cannot_sign_another(node: Identity, master: Identity, tmp_path: Path) -> None:
    """A node that plays CA puts its own certificate at the end of a chain."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    own = x509.load_pem_x509_certificate(Path(node.certificate).read_bytes())
    own_key = load_pem_private_key(Path(node.key).read_bytes(), None)
    assert isinstance(own_key, ed25519.Ed25519PrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    uri = x509.UniformResourceIdentifier(f"gproc://{node.cluster}/master/fe")
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fe")]))
        .issuer_name(own.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own_key.public_key()), critical=False)
        .sign(own_key, None)
    )
    (tmp_path / "chain").write_bytes(forged.public_bytes(Encoding.PEM) + own.public_bytes(Encoding.PEM))
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    posing = plain_context(ssl.PROTOCOL_TLS_SERVER)
    posing.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    _, childs_view = meet(posing, client_context(node))
    assert isinstance(childs_view, ssl.SSLCertVerificationError)


def test_a_masters_certificate_does_not_dial(master: Identity) -> None:
    parents_view, _ = meet(server_context(master), client_context(master))
    assert "a master does not dial" in reason(parents_view)


def test_tls_1_2_is_refused(master: Identity, node: Identity) -> None:
    old = plain_context(ssl.PROTOCOL_TLS_CLIENT)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.load_cert_chain(node.certificate, node.key)
    parents_view, childs_view = meet(server_context(master), old)
    assert reason(parents_view) == "it does not offer TLS 1.3"
    assert reason(childs_view) == "it does not offer TLS 1.3"


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 64, b"\xff" * 64])
def test_a_peer_that_does_not_speak_tls_is_recognised(master: Identity, greeting: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(PATIENCE_S)
        theirs.sendall(greeting)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(OSError) as failed:
            server_context(master).wrap_socket(ours, server_side=True)
    assert "does not speak TLS" in explain(failed.value)


def test_a_peer_that_closes_the_connection_is_recognised(master: Identity) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        with pytest.raises(OSError) as failed:
            server_context(master).wrap_socket(ours, server_side=True)
    assert "closed the connection" in explain(failed.value)


def test_a_refused_connection_keeps_the_kernels_words() -> None:
    assert explain(ConnectionRefusedError(111, "x")) == "Connection refused (ECONNREFUSED)"


@pytest.mark.parametrize("victim", ["certificate", "key", "ca"])
def test_a_damaged_certificate_file_is_a_clear_error(node: Identity, victim: str) -> None:
    Path(getattr(node, victim)).write_text("rubbish")
    with pytest.raises(TrustError, match="damaged"):
        client_context(node)


CLUSTER = ClusterId("ab" * 16)
OWN = Identity(CLUSTER, "node", "kn7", "", "", "", bytes(32))


def peer(role: str, name: str, *addresses: str, cluster: str = CLUSTER) -> PeerName:
    return PeerName(ClusterId(cluster), role, name, (name,), addresses)  # type: ignore[arg-type]


MASTER = peer("master", "fe", "10.1.254.254")
RACK = peer("node", "kn20", "10.1.30.20", "fd00::14")
SIBLING = peer("node", "kn8", "10.1.30.8")
SAME_HOST = peer("node", "kn7")


def accepts(answered: PeerName, expected: ExpectedParent) -> bool:
    try:
        check_parent(answered, expected, OWN)
    except WrongPeer as wrong:
        assert str(answered) in str(wrong)
        return False
    return True


@pytest.mark.parametrize(
    ("expected", "right", "wrong"),
    [
        (ExpectedParent("10.1.254.254", None, True), [MASTER], [RACK, SIBLING, SAME_HOST]),
        (ExpectedParent("127.0.0.1", None, True), [MASTER], [SAME_HOST]),
        (ExpectedParent("10.1.30.20", "kn20", False), [RACK], [MASTER, SIBLING, peer("node", "kn200")]),
        (ExpectedParent("10.1.30.20", None, False), [RACK], [MASTER, SIBLING]),
        (ExpectedParent("FD00:0::14", None, False), [RACK], [SIBLING]),
        (ExpectedParent("KN20", None, False), [RACK], [SIBLING]),
        (ExpectedParent("fe", None, False), [MASTER], [RACK]),
        (ExpectedParent("127.0.0.1", None, False), [SAME_HOST], [MASTER, RACK]),
        (ExpectedParent("::1", None, False), [SAME_HOST], [RACK]),
        (ExpectedParent("localhost", None, False), [SAME_HOST], [RACK]),
        (ExpectedParent("127.evil.example", None, False), [], [SAME_HOST, RACK]),
    ],
    ids=lambda value: f"{value.host}/{value.name}" if isinstance(value, ExpectedParent) else "",
)
def test_a_slave_obeys_only_the_parent_it_dialled(
    expected: ExpectedParent, right: list[PeerName], wrong: list[PeerName]
) -> None:
    assert all(accepts(answered, expected) for answered in right)
    assert not any(accepts(answered, expected) for answered in wrong)


def test_the_right_name_in_another_cluster_is_the_wrong_peer() -> None:
    assert not accepts(peer("master", "fe", cluster="cd" * 16), ExpectedParent("fe", None, True))


class ShownCertificate:
    """Replaces an SSLObject whose peer has shown these names."""

    def __init__(self, *uris: str) -> None:
        self.names = tuple(("URI", uri) for uri in uris)

    def getpeercert(self) -> dict[str, object]:
        return {"subjectAltName": self.names} if self.names else {}


@pytest.mark.parametrize(
    "uris",
    [
        (),
        ("https://example.com/",),
        (f"gproc://{CLUSTER}/node/kn7", f"gproc://{CLUSTER}/master/fe"),
        (f"gproc://{CLUSTER}/emperor/fe",),
    ],
)
def test_a_certificate_without_exactly_one_gproc_name_is_refused(uris: tuple[str, ...]) -> None:
    with pytest.raises(TrustError):
        peer_name(ShownCertificate(*uris))  # type: ignore[arg-type]


def test_a_server_sends_no_session_tickets(master: Identity) -> None:
    assert server_context(master).num_tickets == 0
