from __future__ import annotations

import os
import resource
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from gproc.cli import cert
from gproc.cli.options import CertOptions
from gproc.errors import TrustError, UsageError
from gproc.trust.authority import Authority, handing_over, issue, make_keys, open_authority, provision
from gproc.trust.backup import restore, sealed
from gproc.trust.carried import credentials_for
from gproc.trust.certfile import stamp_in
from gproc.trust.certificates import check_shown, pem_in, stamp_of
from gproc.trust.home import InsecureFile
from gproc.trust.identity import load_identity
from gproc.trust.keyfile import PUBLIC_HEADER, SEED_HEADER, decode_key, encode_key
from gproc.trust.ledger import damage, issued, read_ledger
from gproc.trust.names import CertName, CertRole, ClusterId, check_host_name, parse_cert_name, parse_cluster_id
from gproc.trust.revocations import read_revocations, revoke
from gproc.trust.signing import Signer
from gproc.trust.tls import client_context

CLUSTER = ClusterId("0123456789abcdef" * 2)


def modes(directory: str | Path) -> dict[str, int]:
    return {name: stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) for name in os.listdir(directory)}


def test_an_authority_is_made_once_and_then_opened(home: str) -> None:
    made = open_authority(home, create=True)
    assert open_authority(home, create=True) == made
    assert open_authority(home, create=False) == made


def test_keys_are_closed_to_others(authority: Authority) -> None:
    found = modes(authority.home)
    assert found["ca.key"] == found["ticket.key"] == 0o600


def test_the_error_for_a_missing_authority_says_what_to_run(home: str) -> None:
    with pytest.raises(TrustError, match="run `gproc m`"):
        open_authority(home, create=False)


def test_keys_on_a_disk_that_is_not_mounted_are_not_replaced_by_those_of_a_new_cluster(home: str) -> None:
    """`gproc m` made a new cluster in place of the link, and no node could join."""
    os.symlink("nowhere/ca.key", f"{home}/ca.key")
    with pytest.raises(TrustError, match="is a link, and the cluster's key that it leads to is not there"):
        open_authority(home, create=True)
    assert os.listdir(home) == ["ca.key"]


def test_many_creators_at_once_end_up_with_one_cluster(home: str) -> None:
    program = (
        "import sys; from gproc.trust.authority import open_authority; from gproc.trust.identity import load_identity\n"
        "print('ready', flush=True); sys.stdin.read()\n"
        "print(open_authority(sys.argv[1], create=True).cluster, load_identity(sys.argv[1], 'node', 'fe').cluster)"
    )
    creators = [
        subprocess.Popen(
            [sys.executable, "-c", program, home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for creator in creators:
        assert creator.stdout is not None
        assert creator.stdout.readline() == "ready\n"
    for creator in creators:
        assert creator.stdin is not None
        creator.stdin.close()
    answers = set()
    for creator in creators:
        assert creator.stdout is not None
        with creator.stdout:
            answers.update(creator.stdout.read().split())
        assert creator.wait() == 0
    assert len(answers) == 1
    assert not [name for name in os.listdir(home) if name.endswith(".new")]


def test_an_incomplete_authority_is_made_anew(home: str) -> None:
    Path(home, "ca.crt").write_text("cut off by a power failure")
    Path(home, "ticket.pub").write_text("")
    assert open_authority(home, create=True).cluster


def test_a_provisioned_node_never_becomes_a_cluster_of_its_own_by_mistake(authority: Authority, tmp_path: Path) -> None:
    provision(authority, "kn7", [], str(tmp_path / "kn7"))
    with pytest.raises(TrustError, match="this machine is node kn7"):
        open_authority(str(tmp_path / "kn7"), create=True)


def test_a_ca_key_that_others_can_read_is_refused(authority: Authority) -> None:
    os.chmod(os.path.join(authority.home, "ca.key"), 0o640)
    with pytest.raises(InsecureFile, match="chmod 0600"):
        open_authority(authority.home, create=False)


def test_a_nodes_key_that_others_can_read_is_refused(authority: Authority, tmp_path: Path) -> None:
    provision(authority, "kn7", [], str(tmp_path / "kn7"))
    (tmp_path / "kn7" / "node.key").chmod(0o644)
    with pytest.raises(InsecureFile, match="chmod 0600"):
        load_identity(str(tmp_path / "kn7"), "node", "kn7")


def test_a_certificate_names_cluster_role_host_and_addresses_and_lasts_90_days(authority: Authority) -> None:
    issued = issue(authority, "node", "kn7", ["10.1.30.7", "fd00::7"])
    parsed = x509.load_pem_x509_certificate(issued.certificate)
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"gproc://{authority.cluster}/node/kn7"]
    assert names.get_values_for_type(x509.DNSName) == ["kn7"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.1.30.7", "fd00::7"]
    assert (parsed.not_valid_after_utc - parsed.not_valid_before_utc).days == 90
    assert stamp_of(issued.certificate) == issued.stamp == stamp_in(issued.certificate)


def test_the_text_form_of_an_issued_certificate_hides_the_key(authority: Authority) -> None:
    issued = issue(authority, "node", "kn7", [])
    assert "PRIVATE" not in repr(issued)
    assert authority.ticket_seed().hex() not in repr(authority)


@pytest.mark.parametrize("name", ["", "..", ".", "../../etc", "a/b", "-x", "a b", "a\n", "ä", "x" * 254])
def test_a_name_that_could_leave_the_directory_is_refused(authority: Authority, name: str) -> None:
    with pytest.raises(TrustError):
        issue(authority, "node", name, [])
    with pytest.raises(TrustError):
        load_identity(authority.home, "node", name)


def test_a_certificate_that_cannot_be_read_is_refused_and_no_more(authority: Authority) -> None:
    """A node shows it to the master: here the version of X.509 is 26."""
    pem = pem_in(issue(authority, "node", "kn7", []).certificate)
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    for old, new in ((b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x1a"), (b"\x30\x82", b"\x30\x83")):
        changed = ssl.DER_cert_to_PEM_cert(der.replace(old, new, 1)).encode() + b"\n"
        with pytest.raises(TrustError, match="its certificate cannot be read"):
            check_shown([authority.ca_certificate()], changed, b"data", bytes(64))


def test_a_word_is_not_an_address(authority: Authority) -> None:
    with pytest.raises(TrustError, match="rack1"):
        issue(authority, "node", "kn7", ["rack1"])


def test_a_node_gets_its_own_key_and_no_other(authority: Authority, tmp_path: Path) -> None:
    provision(authority, "kn7", ["10.1.30.7"], str(tmp_path / "kn7"))
    assert modes(tmp_path / "kn7") == {"ca.crt": 0o644, "ticket.pub": 0o644, "node.crt": 0o644, "node.key": 0o600}
    assert stat.S_IMODE(os.stat(tmp_path / "kn7").st_mode) == 0o700


def test_the_front_end_makes_a_missing_certificate_on_the_spot_and_keeps_it(authority: Authority) -> None:
    first = load_identity(authority.home, "master", "fe")
    kept = Path(first.certificate).read_bytes()
    assert load_identity(authority.home, "master", "fe") == first
    assert Path(first.certificate).read_bytes() == kept
    assert (first.cluster, first.role, first.name) == (authority.cluster, "master", "fe")
    assert first.ticket_public == Signer(authority.ticket_seed()).public_key


def test_a_front_end_whose_ca_was_made_anew_gets_new_certificates(authority: Authority) -> None:
    before = load_identity(authority.home, "node", "fe")
    for name in ("ca.key", "ca.crt"):
        os.unlink(os.path.join(authority.home, name))
    renewed = open_authority(authority.home, create=True)
    after = load_identity(authority.home, "node", "fe")
    assert before.cluster == authority.cluster != renewed.cluster == after.cluster
    assert client_context(after).get_ca_certs()


def test_a_node_keeps_the_name_it_was_provisioned_with(authority: Authority, tmp_path: Path) -> None:
    provision(authority, "kn7", [], str(tmp_path / "kn7"))
    assert load_identity(str(tmp_path / "kn7"), "node", "kn7.cluster.example").name == "kn7"


def test_the_error_on_an_unprovisioned_node_says_what_to_run(home: str) -> None:
    with pytest.raises(TrustError, match=r"copytonodes\.sh"):
        load_identity(home, "node", "kn7")


def test_a_node_cannot_load_a_masters_identity(authority: Authority, tmp_path: Path) -> None:
    provision(authority, "kn7", [], str(tmp_path / "kn7"))
    with pytest.raises(TrustError, match="run `gproc m` on the front end"):
        load_identity(str(tmp_path / "kn7"), "master", "kn7")


def test_a_node_of_two_clusters_is_refused(authority: Authority, foreign_authority: Authority, tmp_path: Path) -> None:
    provision(authority, "kn7", [], str(tmp_path / "kn7"))
    (tmp_path / "kn7" / "ca.crt").write_bytes(Path(foreign_authority.home, "ca.crt").read_bytes())
    with pytest.raises(TrustError, match="another cluster"):
        load_identity(str(tmp_path / "kn7"), "node", "kn7")


@pytest.mark.parametrize("damage", ["", "rubbish\n", f"{PUBLIC_HEADER}\nzz\n", f"{PUBLIC_HEADER}\nabcd\n"])
def test_a_damaged_ticket_key_is_named(authority: Authority, tmp_path: Path, damage: str) -> None:
    provision(authority, "kn7", [], str(tmp_path / "kn7"))
    (tmp_path / "kn7" / "ticket.pub").write_text(damage)
    with pytest.raises(TrustError, match=r"ticket\.pub"):
        load_identity(str(tmp_path / "kn7"), "node", "kn7")


def test_a_secret_seed_is_never_taken_for_a_public_key() -> None:
    with pytest.raises(TrustError):
        decode_key(PUBLIC_HEADER, encode_key(SEED_HEADER, bytes(32)), "ticket.pub")


@given(st.text(max_size=300))
def test_a_certificate_name_is_parsed_back_or_refused(text: str) -> None:
    roles: tuple[CertRole, ...] = ("master", "node")
    for role in roles:
        try:
            check_host_name(text)
        except TrustError:
            with pytest.raises(TrustError):
                parse_cert_name(f"gproc://{CLUSTER}/{role}/{text}")
        else:
            named = parse_cert_name(f"gproc://{CLUSTER}/{role}/{text}")
            assert named == CertName(CLUSTER, role, text)
            assert named.uri() == f"gproc://{CLUSTER}/{role}/{text}"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        f"https://{CLUSTER}/node/a",
        f"gproc://{CLUSTER}/root/a",
        f"gproc://{CLUSTER}/node",
        f"gproc://{CLUSTER}/node/a/b",
        "gproc://abc/node/a",
        f"gproc://{CLUSTER.upper()}/node/a",
    ],
)
def test_a_malformed_certificate_name_is_refused(uri: str) -> None:
    with pytest.raises(TrustError):
        parse_cert_name(uri)


def test_gproc_cert_writes_a_directory_for_each_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPROC_HOME", str(tmp_path / "home"))
    out = tmp_path / "out"
    assert cert.run(CertOptions(names=("kn1", "kn2"), out=str(out))) == 0
    assert capsys.readouterr().out == f"{out}/kn1\n{out}/kn2\n"
    assert load_identity(str(out / "kn2"), "node", "kn2").name == "kn2"


def test_gproc_cert_gives_no_two_nodes_the_same_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPROC_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match="one node"):
        cert.run(CertOptions(names=("kn1", "kn2"), out=str(tmp_path), addresses=("10.0.0.1",)))
    assert not (tmp_path / "home").exists()


def test_gproc_cert_writes_nothing_if_one_name_is_malformed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPROC_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match="not a host name"):
        cert.run(CertOptions(names=("kn1", "../kn2"), out=str(tmp_path)))
    assert not (tmp_path / "kn1").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("derived_once")
def test_a_cluster_whose_ca_key_is_lost_is_not_replaced_by_a_new_one(authority: Authority) -> None:
    """`gproc key issue` did that, without a word: no node could join any more, and the old ticket key was gone."""
    provision(authority, "kn7", [], os.path.join(authority.home, "kn7"))
    backup = sealed(authority.home, b"five random words or so")
    os.unlink(os.path.join(authority.home, "ca.key"))
    provisioned = Path(authority.home, "issued").read_bytes()
    before = {name: Path(authority.home, name).read_bytes() for name in ("ca.crt", "ticket.key", "ticket.pub")}
    with pytest.raises(TrustError, match=r"ca\.key is missing.*gproc key restore"):
        open_authority(authority.home, create=True)
    assert {name: Path(authority.home, name).read_bytes() for name in before} == before
    assert restore(backup, b"five random words or so", authority.home) == ["ca.key"]
    assert open_authority(authority.home, create=True).cluster == authority.cluster
    assert Path(authority.home, "issued").read_bytes() == provisioned
    with pytest.raises(TrustError, match="has keys already"):
        restore(backup, b"five random words or so", authority.home)


@pytest.mark.usefixtures("derived_once")
def test_a_backup_gives_back_the_later_list_of_revoked_certificates(authority: Authority) -> None:
    """An older image of the disk had kn1 alone, and kn2 was good again."""
    for name in ("kn1", "kn2"):
        provision(authority, name, [], os.path.join(authority.home, name))
    revoke(authority.home, ["kn1"])
    older = {name: Path(authority.home, name).read_bytes() for name in ("issued", "revoked")}
    revoke(authority.home, ["kn2"])
    provision(authority, "kn3", [], os.path.join(authority.home, "kn3"))
    backup = sealed(authority.home, b"five random words or so")
    newer = {name: Path(authority.home, name).read_bytes() for name in older}
    for there, result in ((older, ["ca.key", "issued", "revoked"]), (newer, ["ca.key"])):
        os.unlink(os.path.join(authority.home, "ca.key"))
        for name, data in there.items():
            Path(authority.home, name).write_bytes(data)
        assert sorted(restore(backup, b"five random words or so", authority.home)) == result
        assert {name for name, _ in read_revocations(authority.home).names} == {"kn1", "kn2"}
        assert [entry.name for entry in issued(authority.home)] == ["kn1", "kn2", "kn3"]


def test_a_first_start_that_was_cut_off_is_begun_again(home: str) -> None:
    make_keys(home, parse_cluster_id("0" * 32), 1)
    os.unlink(os.path.join(home, "ca.key"))
    assert open_authority(home, create=True).ca_certificate()


@pytest.mark.usefixtures("derived_once")
def test_a_damaged_ca_key_is_told_at_the_start_and_not_when_it_is_needed(authority: Authority) -> None:
    path = Path(authority.home, "ca.key")
    whole = path.read_bytes()
    padding = b"-----BEGIN PRIVATE KEY-----\nMIG=HAg\n-----END PRIVATE KEY-----\n"
    backup = sealed(authority.home, b"five random words or so")
    for damaged in (b"", b"x" * 500, whole[:-40], whole.replace(b"M", b"N", 1), padding):
        path.write_bytes(damaged)
        with pytest.raises(TrustError, match=r"ca\.key is damaged"):
            open_authority(authority.home, create=True)
        assert restore(backup, b"five random words or so", authority.home) == ["ca.key"], damaged
        assert path.read_bytes() == whole


def test_lines_of_the_list_of_what_was_issued_that_cannot_be_read_are_named(authority: Authority) -> None:
    """The host was just not there, and the end of the old keys would have shut it out."""
    for name in ("kn1", "kn2", "kn3"):
        provision(authority, name, [], os.path.join(authority.home, name))
    assert damage(authority.home, read_ledger(authority.home)[1]) == ""
    path = Path(authority.home, "issued")
    first, second, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join((first, second[:20], third)) + b"\n")
    entries, damaged = read_ledger(authority.home)
    assert [entry.name for entry in entries] == ["kn1", "kn3"]
    assert "line 2 cannot be read" in damage(authority.home, damaged)


def test_a_certificate_that_nobody_got_is_not_on_the_list(authority: Authority, tmp_path: Path) -> None:
    """A disk was full: the list showed a good certificate, and a host that was revoked was trusted by `gproc start`."""
    issue(authority, "node", "kn1", ())
    revoke(authority.home, ["kn1"])
    before = issued(authority.home)
    (tmp_path / "file").touch()
    with pytest.raises(TrustError, match="cannot make"):
        provision(authority, "kn1", (), str(tmp_path / "file" / "kn1"))
    assert issued(authority.home) == before
    with pytest.raises(TrustError, match="kn1 was revoked on"):
        credentials_for(authority, "kn1", (), "ssh")


def test_what_others_got_meanwhile_stays_on_the_list(authority: Authority) -> None:
    first = issue(authority, "node", "kn1", ())
    with pytest.raises(TrustError, match="full"), handing_over(authority, first.stamp):
        issue(authority, "node", "kn2", ())
        raise TrustError("full")
    assert [entry.name for entry in issued(authority.home)] == ["kn2"]


def test_a_line_for_which_the_disk_has_no_room_leaves_no_damage_on_the_list(authority: Authority) -> None:
    """Half a line stayed, which `gproc key rotate finish` takes for a certificate that nobody knows."""
    issue(authority, "node", "kn1", ())
    path = Path(authority.home, "issued")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, limits[1]))
    try:
        with pytest.raises(TrustError, match=r"cannot write .*issued: No space left"):
            issue(authority, "node", "kn2", ())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
