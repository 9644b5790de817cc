"""A rack master, or a node that was taken over, that wants certificates, or wants revocations not to reach others."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from gproc.node.voice import Voice
from gproc.request.outcome import Returned
from gproc.trust.authority import open_authority, provision
from gproc.trust.certfile import certificate_file
from gproc.trust.certificates import certify, pem_in
from gproc.trust.home import write_file
from gproc.trust.identity import Identity, load_identity
from gproc.trust.keyfile import key_pem
from gproc.trust.ledger import issued
from gproc.trust.names import CertName
from gproc.trust.renewal import RENEWALS_AT_ONCE, NewKey, RenewalAnswer, own_seed, signature_of, subject
from gproc.trust.revocations import RevocationList
from gproc.trust.rotation import begin_rotation
from gproc.trust.signing import Context, Signer, opened
from gproc.trust.succession import Succession, sign_retirement, sign_succession
from gproc.trust.ticket import read_grant
from gproc.trust.vetting import sign_list
from gproc.wire import frames, messages
from gproc.wire.credentials import AskCertificate, Certified, NewKeys, OldKeysEnd, Revocations
from gproc.wire.messages import Granted, Route
from gproc.wire.tags import TAGS
from tests.attack.peer import Peer, dial, join_as, node_named, node_of, ping
from tests.attack.relay import Relay
from tests.patience import PATIENCE_S
from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster, Daemon

DAY_S = 86400
QUIET_S = 2.0


def aged(cluster: Cluster, name: str, left_days: int) -> Identity:
    """A node's identity whose certificate is valid for `left_days` more days, of 90."""
    authority = open_authority(str(cluster.home), create=False)
    home = cluster.place / name
    provision(authority, name, ["127.0.0.1"], str(home))
    seed = os.urandom(32)
    ends_s = int(time.time()) + left_days * DAY_S
    uri = CertName(authority.cluster, "node", name)
    pem, stamp = certify(
        authority.ca_certificate(), (cluster.home / "ca.key").read_bytes(), uri, Signer(seed).public_key,
        ["127.0.0.1"], ends_s - 90 * DAY_S, ends_s,
    )  # fmt: skip
    write_file(str(home / "node.crt"), certificate_file(uri, stamp, pem) + key_pem(seed), 0o600)
    return load_identity(str(home), "node", name)


class Asking:
    """A node of the tree, in the hands of a test, that asks for certificates."""

    def __init__(self, cluster: Cluster, identity: Identity, id: int = 1) -> None:
        self.cluster = cluster
        self.identity = identity
        self.key = NewKey()
        self.up, self.bulk = join_as(cluster.port, identity, id)
        self.session = read_grant(self.up.hear(Granted).grant, identity.ticket_public).session

    def question(self, shown: Identity | None = None, signer: bytes | None = None) -> AskCertificate:
        """shown: whose certificate is shown; signer: the key that signs the question."""
        seed = signer or own_seed(self.identity)
        assert seed is not None
        pem = pem_in(Path((shown or self.identity).certificate).read_bytes())
        data = subject(self.session, self.key.public)
        return AskCertificate(Route(()), pem, self.key.public, signature_of(seed, data), self.key.proof(self.session))

    def answer(self, question: AskCertificate) -> RenewalAnswer:
        self.up.say(question)
        signed = self.up.hear(Certified).answer
        return opened(Context.CERTIFICATE, signed, self.identity.ticket_public, msgspec.msgpack.Decoder(RenewalAnswer))

    def refusal(self, question: AskCertificate) -> str:
        answer = self.answer(question)
        assert answer.certificate == b""
        return answer.reason

    def close(self) -> None:
        """It ends, by its own word: a master waits for nodes that may be looking for another parent."""
        with contextlib.suppress(OSError):
            self.up.say(messages.Goodbye("the test is over"))
            self.up.hear_the_end()
        for peer in (self.up, self.bulk):
            peer.socket.close()


def renewed(cluster: Cluster) -> int:
    return sum(entry.kind == "renewed" for entry in issued(str(cluster.home)))


def test_a_node_gets_a_certificate_for_its_own_name_alone(cluster: Cluster) -> None:
    asking = Asking(cluster, aged(cluster, "kn1", 20))
    given = asking.answer(asking.question())
    assert given.certificate.startswith(f"gproc://{asking.identity.cluster}/node/kn1\n".encode())
    assert asking.answer(asking.question()) == given  # a question that is repeated costs nothing
    assert renewed(cluster) == 1
    victim = aged(cluster, "kn2", 20)
    # It shows another node's certificate, which it may have seen, and cannot sign by its key.
    assert asking.refusal(asking.question(shown=victim)) == "it is signed by another key"
    # It has that other node's key too, but is not at that node's place.
    stolen = own_seed(victim)
    assert asking.refusal(asking.question(shown=victim, signer=stolen)) == "its certificate is of kn2"
    assert renewed(cluster) == 1
    asking.close()


def test_a_relay_that_asks_for_a_node_below_it_gets_nothing(cluster: Cluster, this_node: Identity) -> None:
    asking = Asking(cluster, this_node)
    victim = aged(cluster, "kn2", 20)
    asking.up.say(messages.Arrived(Route((2,)), node_of(victim, Voice())))
    asking.up.hear(Granted)
    seed = os.urandom(32)
    question = msgspec.structs.replace(asking.question(shown=victim, signer=seed), route=Route((2,)))
    assert asking.refusal(question) == "it is signed by another key"
    # The genuine question of that node, with the relay's own key in it.
    genuine = asking.question(shown=victim, signer=own_seed(victim))
    own = NewKey()
    forged = msgspec.structs.replace(genuine, key=own.public, proof=own.proof(asking.session), route=Route((2,)))
    assert asking.refusal(forged) == "it is signed by another key"
    stolen = msgspec.structs.replace(genuine, proof=bytes(64), route=Route((2,)))
    assert asking.refusal(stolen) == "it does not have the key that it asks a certificate for"
    assert renewed(cluster) == 0
    asking.close()


def test_a_certificate_is_not_renewed_too_early_nor_long_after_its_end_nor_for_ever(cluster: Cluster) -> None:
    early = Asking(cluster, aged(cluster, "kn1", 60), 1)
    assert early.refusal(early.question()).endswith("so it is too early")
    asking = Asking(cluster, aged(cluster, "kn3", 10), 3)
    for _ in range(8):
        assert asking.answer(asking.question()).certificate
        asking.key = NewKey()
    assert asking.refusal(asking.question()) == "its certificate was renewed 8 times already"
    ended = aged(cluster, "kn3", -31)
    assert "which is too long ago" in asking.refusal(asking.question(shown=ended, signer=own_seed(ended)))
    assert renewed(cluster) == 8
    for each in (early, asking):
        each.close()


def test_a_certificate_of_the_next_keys_gets_no_more_of_them(cluster: Cluster) -> None:
    """While keys are exchanged: eight for one, eight more for each of these, and so on for ever."""
    asking = Asking(cluster, aged(cluster, "kn1", 60))
    begin_rotation(open_authority(str(cluster.home), create=False))
    cluster.master.says("the cluster has new keys")

    def wanted(shown: Identity | None = None, signer: bytes | None = None) -> AskCertificate:
        return msgspec.structs.replace(asking.question(shown, signer), following=True)

    given = asking.answer(wanted()).certificate
    following = cluster.place / "following.crt"
    following.write_bytes(given)
    of_next = msgspec.structs.replace(asking.identity, certificate=str(following))
    seed, asking.key = asking.key._seed, NewKey()
    assert asking.refusal(wanted(of_next, seed)).startswith("its certificate cannot be read")
    assert renewed(cluster) == 1
    asking.close()


def test_a_revoked_certificate_gets_no_successor(cluster: Cluster, this_node: Identity) -> None:
    asking = Asking(cluster, this_node)
    revoked = aged(cluster, "kn1", 20)
    revoke(cluster, "kn1")
    cluster.master.says("1 hosts and 0 certificates are revoked")
    asking.up.say(messages.Arrived(Route((2,)), node_of(revoked, Voice())))
    cluster.master.says(r"not taken in: 1/2 \(kn1\): the certificate of kn1 was revoked")
    question = msgspec.structs.replace(asking.question(shown=revoked, signer=own_seed(revoked)), route=Route((2,)))
    asking.up.say(question)  # of a node that is not there: there is no answer
    assert asking.refusal(asking.question()).endswith("so it is too early")
    assert renewed(cluster) == 0
    asking.close()


def test_a_question_of_a_megabyte_ends_the_connection_of_its_sender_alone(cluster: Cluster) -> None:
    cluster.slave(2)
    asking = Asking(cluster, aged(cluster, "kn1", 20))
    asking.up.say(msgspec.structs.replace(asking.question(), certificate=b"x" * (1 << 20)))
    asking.up.hear_the_end()
    cluster.master.says(r"node 1 left: kn1 at \S+: not a message of a child: ")
    assert cluster.exec("-localbin", ".", "/bin/true").returncode == 0
    asking.close()


def test_ten_thousand_questions_of_one_child_are_answered_as_far_as_it_may_ask(cluster: Cluster) -> None:
    cluster.slave(2)
    asking = Asking(cluster, aged(cluster, "kn1", 60))
    began_s = time.monotonic()
    flood = messages.frame(asking.question()) * 10_000
    asking.up.raw(flood)
    assert cluster.exec("-localbin", "2", "/bin/true").returncode == 0
    answers = count(asking.up, Certified)
    assert 0 < answers <= RENEWALS_AT_ONCE + 8 * (time.monotonic() - began_s) + 8
    asking.close()


def count(peer: Peer, kind: type[messages.Message]) -> int:
    """How many of these come until none has come for some seconds; the heartbeats go on."""
    found, last_s = 0, time.monotonic()
    peer.socket.settimeout(PATIENCE_S)
    while time.monotonic() < last_s + QUIET_S:
        for number, payload in peer._reader.frames(peer.socket.recv_into(peer._reader.space())):
            if number == frames.KIND_CONTROL and payload[1] == TAGS[kind.__name__]:
                found, last_s = found + 1, time.monotonic()
        ping(peer)
    return found


def revoke(cluster: Cluster, *words: str, status: int = 0) -> None:
    """status: 1 if a name was never given a certificate; it is revoked all the same."""
    done = subprocess.run(
        [sys.executable, "-m", "gproc", "key", "revoke", *words], env=cluster.env, stdout=subprocess.DEVNULL,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == status


def test_a_relay_can_neither_forge_a_list_nor_replay_an_old_one(relay: Relay) -> None:
    relay.pass_grant()
    forged = sign_list(Signer(os.urandom(32)), RevocationList(10**10, ((socket.gethostname(), 10**10),)))
    relay.tell(Revocations(forged))
    relay.slave.says(r"refused from \S+ a forged revocations: this cluster's master did not sign it")
    revoke(relay.cluster, "kn7", status=1)
    old = relay.up.hear(Revocations)
    revoke(relay.cluster, "kn9", status=1)
    new = relay.up.hear(Revocations)
    relay.tell(new, old)
    kn9 = aged_at(relay.cluster, "kn9")
    with dial(port_of(relay), kn9).greet(frames.CHANNEL_CONTROL) as peer:
        peer.say(messages.Join(b"t" * 16, 3, True, node_named("kn9")))
        assert peer.hear(messages.RefuseJoin).reason.startswith("the certificate of kn9 was revoked on ")


def aged_at(cluster: Cluster, name: str) -> Identity:
    return aged(cluster, name, 20)


def port_of(relay: Relay) -> int:
    return int(relay.slave.says(r"takes children on port (\d+)").group(1))


def test_a_relay_that_withholds_the_list_loses_its_child(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master("--orphan-timeout=16")
    relay = Relay(cluster, load_identity(str(cluster.home), "node", socket.gethostname()))
    relay.pass_grant()
    revoke(cluster, "kn7", status=1)
    relay.up.hear(Revocations)
    relay.pass_leases()
    relay.slave.says(r"lost the parent at \S+: it does not pass on the master's list of revoked certificates")
    relay.close()
    cluster.stop()


@pytest.mark.parametrize("role", ["child", "peer"])
def test_a_revoked_certificate_opens_no_connection_of_any_kind(cluster: Cluster, role: str) -> None:
    kn9 = aged(cluster, "kn9", 20)
    revoke(cluster, "kn9")
    cluster.master.says("1 hosts and 0 certificates are revoked")
    channel = frames.CHANNEL_CONTROL if role == "child" else frames.CHANNEL_PEER
    with dial(cluster.port, kn9).greet(channel) as peer:
        if role == "child":
            peer.say(messages.Join(b"t" * 16, 9, True, node_named("kn9")))
            assert peer.hear(messages.RefuseJoin).reason.startswith("the certificate of kn9 was revoked on ")
        else:
            peer.say(messages.PeerHello(messages.Signed(b"", b"")))
        peer.hear_the_end()


def test_a_list_that_is_removed_while_the_master_runs_lets_nobody_in(cluster: Cluster) -> None:
    kn9 = aged(cluster, "kn9", 20)
    revoke(cluster, "kn9")
    cluster.master.says("1 hosts and 0 certificates are revoked")
    (cluster.home / "revoked").unlink()
    cluster.master.says("/revoked is gone: what was revoked stays so until this master ends")
    with dial(cluster.port, kn9).greet(frames.CHANNEL_CONTROL) as peer:
        peer.say(messages.Join(b"t" * 16, 9, True, node_named("kn9")))
        assert peer.hear(messages.RefuseJoin).reason.startswith("the certificate of kn9 was revoked on ")


@pytest.mark.parametrize("kind", ["damaged", "a link that leads nowhere"])
def test_without_the_list_of_those_who_are_revoked_no_master_starts(tmp_path: Path, kind: str) -> None:
    """It said that the list is damaged, or nothing at all, and let all in that were revoked."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    cluster.master.kill(signal.SIGTERM)
    cluster.master.wait()
    listed = cluster.home / "revoked"
    if kind == "damaged":
        listed.write_text("[1, ")
        listed.chmod(0o600)
    else:
        listed.symlink_to("nowhere")
    master = Daemon([*gproc_as(None), "m", "-cmdport=0", f"--socket={cluster.socket}"], cluster.env, cluster.work)
    assert master.wait() == 125
    assert f"{listed}" in master.log and "master on" not in master.log
    cluster.stop()


def test_an_expired_certificate_is_refused_with_the_date_and_what_to_do(cluster: Cluster) -> None:
    kn9 = aged(cluster, "kn9", -1)
    with dial(cluster.port, kn9).greet(frames.CHANNEL_CONTROL) as peer:
        peer.say(messages.Join(b"t" * 16, 9, True, node_named("kn9")))
        reason = peer.hear(messages.RefuseJoin).reason
    assert kn9.stamp is not None
    assert reason.startswith("the certificate of kn9 has expired on 20")
    assert "(by the master's clock it is 20" in reason
    assert "`gproc key issue kn9` on the front end makes another" in reason


def test_a_relay_cannot_tell_a_node_of_other_keys(relay: Relay) -> None:
    """Nor that those end which it has: then it could be its master."""
    relay.pass_grant()
    stranger = Signer(os.urandom(32))
    other = Succession(2, Path(relay.identity.ca).read_bytes(), stranger.public_key)
    relay.tell(NewKeys(sign_succession(stranger, other)), OldKeysEnd(sign_retirement(stranger, 2)))
    relay.slave.says(r"refused from \S+ a forged succession: this cluster's master did not sign it")
    relay.slave.says(r"refused from \S+ a forged retirement: this cluster's master did not sign it")
    job, run = relay.begin("-localbin", "=1/2", "/bin/echo", "well")
    assert relay.order(run) == Returned(0)
    assert relay.answer(job, run)[:2] == (0, "well\n")
