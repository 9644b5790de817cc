from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gproc.errors import TrustError
from gproc.trust.authority import Authority, issue, open_authority
from gproc.trust.carried import credentials_for, one_file
from gproc.trust.endpoint import Endpoint
from gproc.trust.identity import is_due, load_identity
from gproc.trust.ledger import check_clock, issued
from gproc.trust.names import CertRole, ClusterId
from gproc.trust.revocations import REVOKED_MAX, RevocationList, is_revoked, revoke
from gproc.trust.signing import Context, Forged, Signer, Unreadable
from gproc.trust.stamp import CertStamp, date_text, parse_stamp
from gproc.trust.tls import PeerName
from gproc.trust.vetting import Vetting, sign_list
from tests.trust.old_keys import write_old_keys

SIGNER = Signer(b"s" * 32)
CLUSTER = ClusterId("0123456789abcdef" * 2)
BEGAN_S = 1_800_000_000
DAY_S = 86400


def peer(
    name: str = "kn1", serial: str = "AB", issued_s: int = BEGAN_S, expires_s: int = BEGAN_S + 90 * DAY_S,
    role: CertRole = "node",
) -> PeerName:  # fmt: skip
    return PeerName(CLUSTER, role, name, (), (), serial, issued_s, expires_s)


class Clock:
    """The clock of a node that booted in 1970, say: only differences count."""

    def __init__(self) -> None:
        self.s = 5.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vetting(clock: Clock) -> Vetting:
    return Vetting(SIGNER.public_key, clock)


def test_a_certificate_ends_by_the_masters_date_and_no_other(vetting: Vetting, clock: Clock) -> None:
    assert vetting.objection(peer()) == ""  # it has not been told which day it is
    vetting.heard(BEGAN_S + 89 * DAY_S)
    assert vetting.objection(peer()) == ""
    clock.s += 2 * DAY_S
    said = vetting.objection(peer())
    assert said.startswith(f"the certificate of kn1 has expired on {date_text(BEGAN_S + 90 * DAY_S)} ")
    assert f"by the master's clock it is {date_text(BEGAN_S + 91 * DAY_S)}" in said
    assert "`gproc key issue kn1`" in said
    vetting.heard(BEGAN_S + DAY_S)  # somebody has set the master's clock right
    assert vetting.objection(peer()) == ""


def test_a_master_that_does_not_say_its_date_changes_nothing(vetting: Vetting) -> None:
    vetting.heard(0.0)
    assert vetting.date_s() is None


def test_a_revoked_name_means_what_was_issued_until_then(vetting: Vetting) -> None:
    assert vetting.learn(sign_list(SIGNER, RevocationList(1, (("kn1", BEGAN_S),))))
    assert vetting.objection(peer()).startswith(f"the certificate of kn1 was revoked on {date_text(BEGAN_S)}: ")
    assert vetting.objection(peer(name="KN1"))
    assert vetting.objection(peer(issued_s=0))  # of gproc 0.1
    assert vetting.objection(peer(issued_s=BEGAN_S + 1)) == ""
    assert vetting.objection(peer(name="kn2")) == ""
    assert vetting.objection(peer(role="master")) == ""  # the front end's node, not its master


def test_a_revoked_serial_means_one_certificate(vetting: Vetting) -> None:
    assert vetting.learn(sign_list(SIGNER, RevocationList(1, (), (("AB", BEGAN_S),))))
    assert vetting.objection(peer()).startswith("the certificate of kn1 was revoked: ")
    assert vetting.objection(peer(serial="AC")) == ""


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_in_whatever_order_lists_come_the_one_with_the_highest_number_counts(numbers: list[int]) -> None:
    vetting = Vetting(SIGNER.public_key, Clock())
    for number in numbers:
        before = vetting.number
        learnt = vetting.learn(sign_list(SIGNER, RevocationList(number, ((f"kn{number}", BEGAN_S),))))
        assert learnt == (number > before)
    assert vetting.number == max(numbers)
    assert [n for n in range(1, 10) if vetting.objection(peer(name=f"kn{n}"))] == [max(numbers)]


def test_a_list_that_another_has_signed_or_that_is_beyond_its_bounds_changes_nothing(vetting: Vetting) -> None:
    with pytest.raises(Forged):
        vetting.learn(sign_list(Signer(os.urandom(32)), RevocationList(1, (("kn1", BEGAN_S),))))
    with pytest.raises(Forged):
        vetting.learn(SIGNER.sign(Context.LEASE, RevocationList(1, (("kn1", BEGAN_S),))))
    many = tuple((f"kn{n}", BEGAN_S) for n in range(REVOKED_MAX + 1))
    with pytest.raises(Unreadable):
        vetting.learn(sign_list(SIGNER, RevocationList(1, many)))
    assert vetting.objection(peer()) == ""
    assert vetting.number == 0


def test_numbers_of_lists_rise_even_if_an_old_list_was_restored(authority: Authority) -> None:
    revoke(authority.home, ["kn1"])
    path = Path(authority.home, "revoked")
    old = path.read_bytes()
    revoke(authority.home, ["kn2"])
    path.unlink()
    revoke(authority.home, ["kn3"])
    assert b"kn1" not in path.read_bytes()
    path.write_bytes(old)
    assert is_revoked(RevocationList(1, (("kn1", 5),)), "KN1", "", 5)


@pytest.mark.parametrize("line", ["", "serial AB, issued 2026-11-27T11:00:00Z", "serial AB, issued x, expires y",
                                  "serial AB, issued 2026-13-77T11:00:00Z, expires 2026-11-27T11:00:00Z",
                                  "serial AB, issued 0985-01-01T11:00:00Z, expires 2026-11-27T11:00:00Z",
                                  "serial AB, issued 2026-11-00T11:00:00Z, expires 2026-11-27T11:00:00Z"])  # fmt: skip
def test_a_line_that_is_no_stamp_is_none(line: str) -> None:
    assert parse_stamp(line) is None


@given(st.integers(0, 250_000_000_000), st.integers(0, 250_000_000_000), st.integers(0, 2**159))
def test_a_stamp_is_read_back(issued_s: int, expires_s: int, serial: int) -> None:
    stamp = CertStamp(f"{serial:X}", issued_s, expires_s)
    assert parse_stamp(stamp.line()) == stamp


def test_a_certificate_is_due_in_the_last_third_of_its_life() -> None:
    stamp = CertStamp("AB", BEGAN_S, BEGAN_S + 90 * DAY_S)
    assert [is_due(stamp, BEGAN_S + day * DAY_S) for day in (0, 59, 61, 91)] == [False, False, True, True]
    assert is_due(None, BEGAN_S)


def test_the_front_end_replaces_a_certificate_without_an_end(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    write_old_keys(authority, "fe", Path(authority.home, "node-fe"))
    identity = load_identity(authority.home, "node", "fe")
    assert identity.stamp is not None
    assert "has no end, as gproc 0.1 made them: it is replaced" in caplog.text
    assert not Path(authority.home, "node-fe.key").exists()  # it is in the certificate's file now
    assert load_identity(authority.home, "node", "fe") == identity


def test_a_file_that_another_process_has_replaced_is_taken_and_a_damaged_one_not(
    authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "n" / "node.keys"
    path.parent.mkdir(mode=0o700)

    def write(content: bytes) -> None:
        beside = path.with_suffix(".new")
        beside.write_bytes(content)
        beside.chmod(0o600)
        beside.rename(path)

    write(one_file(credentials_for(authority, "kn1", [])))
    endpoint = Endpoint(load_identity(str(path.parent), "node", "kn1"))
    first, context = endpoint.identity, endpoint.server
    write(b"rubbish")
    endpoint.refresh()
    assert (endpoint.identity, endpoint.server) == (first, context)
    write(one_file(credentials_for(authority, "kn1", [])))
    endpoint.refresh()
    assert endpoint.identity.stamp != first.stamp
    assert endpoint.server is not context


@pytest.mark.parametrize("content", [b"", b"gproc://x\n", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_damaged_file_of_keys_is_named(authority: Authority, tmp_path: Path, content: bytes) -> None:
    home = tmp_path / "n"
    home.mkdir(mode=0o700)
    whole = one_file(credentials_for(authority, "kn1", []))
    for damaged in (content, whole[:300], whole[: whole.find(b"gproc ticket")], whole[whole.find(b"-----END") :]):
        (home / "node.keys").write_bytes(damaged)
        (home / "node.keys").chmod(0o600)
        with pytest.raises(Exception, match=r"node\.keys is damaged"):
            load_identity(str(home), "node", "kn1")


def test_of_two_files_the_later_certificate_counts(authority: Authority, tmp_path: Path) -> None:
    """gproc cert and copytonodes.sh write node.crt, gproc key issue node.keys."""
    home = tmp_path / "n"
    home.mkdir(mode=0o700)
    credentials = credentials_for(authority, "kn1", [])
    for name, content in (("node.keys", one_file(credentials)), ("ca.crt", credentials.ca),
                          ("ticket.pub", credentials.ticket_public)):  # fmt: skip
        (home / name).write_bytes(content)
        (home / name).chmod(0o600)
    later = issue(replace(open_authority(authority.home, create=False), lifetime_s=9.0), "node", "kn2", [])
    before = later.certificate.replace(
        later.stamp.line().encode(), replace(later.stamp, issued_s=later.stamp.issued_s - 9).line().encode()
    )
    after = later.certificate.replace(
        later.stamp.line().encode(), replace(later.stamp, issued_s=later.stamp.issued_s + 9).line().encode()
    )
    (home / "node.crt").write_bytes(before + later.key)
    (home / "node.crt").chmod(0o600)
    assert load_identity(str(home), "node", "kn1").name == "kn1"
    (home / "node.crt").write_bytes(after + later.key)
    assert load_identity(str(home), "node", "kn1").name == "kn2"


def test_a_front_end_whose_clock_was_set_back_to_1970_issues_nothing(authority: Authority) -> None:
    """What it issued would be taken for expired as soon as the clock is right."""
    issue(authority, "node", "kn1", [])
    check_clock(authority.home, time.time() - 60)
    with pytest.raises(TrustError, match=r"clock shows 1970-01-01T00:00:05Z, and a certificate was issued on 20"):
        check_clock(authority.home, 5.0)
    with open(os.path.join(authority.home, "issued"), "ab") as ledger:
        ledger.write(b'{"name": "cut o')
    check_clock(authority.home, 5.0)
    issue(authority, "node", "kn1", [])
    assert len(issued(authority.home)) == 2


def test_the_front_end_makes_itself_another_certificate_if_its_own_was_revoked(authority: Authority) -> None:
    """It has the CA's key, so a revocation of its own host cannot mean that it is not to be trusted."""
    master, node = (load_identity(authority.home, role, "fe") for role in ("master", "node"))
    revoke(authority.home, ["fe"])
    assert load_identity(authority.home, "master", "fe") == master
    again = load_identity(authority.home, "node", "fe")
    assert again.stamp is not None
    assert node.stamp is not None
    assert again.stamp.issued_s > node.stamp.issued_s


def test_a_revoked_host_is_not_started_again_before_a_person_has_issued_another_certificate(
    authority: Authority,
) -> None:
    credentials_for(authority, "kn1", [])
    revoke(authority.home, ["kn1"])
    for _ in range(2):
        with pytest.raises(TrustError, match=r"kn1 was revoked on 20\S+: .* say `gproc key issue kn1` first"):
            credentials_for(authority, "kn1", [])
    credentials_for(authority, "kn2", [])
    credentials_for(authority, "kn1", [], "file")
    credentials_for(authority, "kn1", [])
