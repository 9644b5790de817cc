"""The exchange of the cluster's keys: what a node believes, and what is on the front end's disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gproc.errors import TrustError
from gproc.trust import home as homes
from gproc.trust import rotation
from gproc.trust.authority import Authority, issue_for, next_authority, open_authority
from gproc.trust.backup import restore, sealed
from gproc.trust.carried import credentials_for, identity_in_memory
from gproc.trust.endpoint import Endpoint
from gproc.trust.renewal import NewKey, RenewalAnswer
from gproc.trust.revocations import read_revocations, revoke
from gproc.trust.rotation import begin_rotation, end_rotation, progress_of
from gproc.trust.signing import Context, Forged, KeysOfJob, Signer, check_signature
from gproc.trust.succession import OtherSuccessor, Succession, WrongGeneration, sign_retirement, sign_succession
from gproc.wire.messages import Signed


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return open_authority(homes.gproc_home({"GPROC_HOME": str(tmp_path / "home")}), create=True)


def node_of(authority: Authority, name: str = "kn1") -> Endpoint:
    return Endpoint(identity_in_memory(credentials_for(authority, name, [])))


def signer_of(authority: Authority) -> Signer:
    return Signer(authority.ticket_seed())


def word_of(authority: Authority, following: Authority) -> Signed:
    found = Succession(following.generation, following.ca_certificate(), following.ticket_public())
    return sign_succession(signer_of(authority), found)


def believes(node: Endpoint, authority: Authority) -> bool:
    try:
        check_signature(Context.ORDER, b"x", signer_of(authority).sign_bytes(Context.ORDER, b"x"), node.keys)
    except Forged:
        return False
    return True


def test_both_keys_count_until_the_new_ones_end_the_old(authority: Authority) -> None:
    node, following = node_of(authority), begin_rotation(authority)
    assert not believes(node, following)
    assert node.learn(word_of(authority, following))
    assert not node.learn(word_of(authority, following))
    assert believes(node, authority)
    assert believes(node, following)
    running = KeysOfJob(node.keys)
    identity = identity_in_memory(credentials_for(following, "kn1", []))
    node.hold(identity)
    signed = sign_retirement(signer_of(following), 2)
    assert node.retires(signed)
    old = signer_of(authority).sign_bytes(Context.ORDER, b"x")
    node.succeed(identity, signed)
    assert not believes(node, authority)
    assert believes(node, following)
    check_signature(Context.ORDER, b"x", old, running)  # of a job that began before
    assert not node.retires(signed)  # each parent says it again


def test_nobody_else_names_or_ends_keys(authority: Authority, tmp_path: Path) -> None:
    node, following = node_of(authority), begin_rotation(authority)
    found = Succession(2, following.ca_certificate(), following.ticket_public())
    with pytest.raises(Forged):
        node.learn(sign_succession(signer_of(following), found))
    assert node.learn(word_of(authority, following))
    with pytest.raises(Forged):
        node.retires(sign_retirement(signer_of(authority), 2))
    with pytest.raises(WrongGeneration):
        node.retires(sign_retirement(signer_of(following), 3))


def test_keys_that_do_not_follow_or_are_others_are_refused(authority: Authority, tmp_path: Path) -> None:
    node, following = node_of(authority), begin_rotation(authority)
    signer = signer_of(authority)
    with pytest.raises(WrongGeneration):
        node.learn(sign_succession(signer, Succession(3, following.ca_certificate(), following.ticket_public())))
    assert node.learn(word_of(authority, following))
    with pytest.raises(OtherSuccessor):
        node.learn(sign_succession(signer, Succession(2, following.ca_certificate(), bytes(32))))


def test_an_end_that_was_cut_off_is_completed(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    following = begin_rotation(authority)
    new = following.ca_certificate()
    written: list[str] = []

    def failing(path: str, data: bytes, mode: int) -> None:
        if os.path.basename(path) == "ca.crt":
            raise TrustError("the disk is full")
        written.append(path)
        homes.write_file(path, data, mode)

    monkeypatch.setattr(rotation, "write_file", failing)
    with pytest.raises(TrustError):
        end_rotation(authority)
    assert written
    monkeypatch.undo()
    again = open_authority(authority.home, create=False)
    assert (again.generation, again.ca_certificate()) == (2, new)
    assert next_authority(again) is None
    assert Signer(again.ticket_seed()).public_key == again.ticket_public()


def test_a_node_takes_no_certificate_of_other_keys_than_it_asked_for(authority: Authority) -> None:
    """A relay can ask for the others in its name: such a certificate, once in its file, would keep it out for good."""
    node = node_of(authority)
    following = begin_rotation(authority)
    for signing, wanted in ((following, authority), (authority, following)):
        key = NewKey()
        given, _ = issue_for(signing, "node", node.identity.name, [], key.public, "renewed")
        answer = RenewalAnswer(b"", key.public, given)
        with pytest.raises(TrustError, match=r"a certificate of the cluster's keys \d, and one of \d was asked for"):
            key.identity(answer, node.identity, wanted.ca_certificate(), wanted.ticket_public(), wanted.generation)
        key.identity(answer, node.identity, signing.ca_certificate(), signing.ticket_public(), signing.generation)


def test_revoked_hosts_stay_revoked_and_are_not_missed(authority: Authority) -> None:
    for name in ("kn1", "kn2", "kn3"):
        credentials_for(authority, name, [])
    revoke(authority.home, ["kn3"])
    before = read_revocations(authority.home)
    following = begin_rotation(authority)
    credentials_for(following, "kn1", [])
    progress = progress_of(authority, following)
    assert (progress.ready, progress.missing) == (("kn1",), ("kn2",))
    end_rotation(authority)
    after = read_revocations(authority.home)
    assert (after.names, after.number > before.number) == (before.names, True)


@pytest.mark.usefixtures("derived_once")
def test_new_keys_are_in_a_backup(authority: Authority, tmp_path: Path) -> None:
    following = begin_rotation(authority)
    home = homes.gproc_home({"GPROC_HOME": str(tmp_path / "other")})
    restore(sealed(authority.home, b"five random words"), b"five random words", home)
    found = next_authority(open_authority(home, create=False))
    assert found is not None
    assert found.ticket_seed() == following.ticket_seed()


def test_keys_are_exchanged_once_at_a_time_and_again_and_again(authority: Authority) -> None:
    for generation in (2, 3):
        assert begin_rotation(authority).generation == generation
        with pytest.raises(TrustError, match="has new keys already"):
            begin_rotation(authority)
        end_rotation(authority)
        with pytest.raises(TrustError, match="there are no new keys"):
            end_rotation(authority)
        assert authority.generation == generation
