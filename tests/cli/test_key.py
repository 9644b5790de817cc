"""`gproc key`, as it is typed."""

from __future__ import annotations

import json
import os
import pty
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gproc.errors import TrustError
from gproc.trust import ledger
from gproc.trust.authority import open_authority
from gproc.trust.backup import opened_backup
from gproc.trust.home import gproc_home
from gproc.trust.identity import load_identity
from gproc.trust.revocations import read_revocations
from gproc.trust.signing import Signer
from tests.patience import PATIENCE_S


class Typed:
    """Runs `gproc key` in a directory of its own, with a home below it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.home = place / "home"

    def __call__(self, *words: str, home: str = "home", **options: Any) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "GPROC_HOME": str(self.place / home), "COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, "-m", "gproc", "key", *words], env=env, cwd=self.place, text=True, capture_output=True,
            stdin=options.get("stdin", subprocess.DEVNULL), timeout=PATIENCE_S, check=False,
        )  # fmt: skip

    def good(self, *words: str, **options: Any) -> str:
        done = self(*words, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *words: str, **options: Any) -> str:
        done = self(*words, **options)
        assert done.returncode in (2, 125), done.stdout
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.good("list", "--json"))
        return found


@pytest.fixture
def key(tmp_path: Path) -> Typed:
    return Typed(tmp_path)


def test_each_host_gets_a_file_with_all_that_it_needs(key: Typed, tmp_path: Path) -> None:
    assert key.good("issue", "kn1", "kn2") == "kn1.keys\nkn2.keys\n"
    assert stat.S_IMODE((tmp_path / "kn1.keys").stat().st_mode) == 0o600
    node = tmp_path / "node"
    node.mkdir(mode=0o700)
    (tmp_path / "kn2.keys").rename(node / "node.keys")
    identity = load_identity(str(node), "node", "any")
    authority = open_authority(str(key.home), create=False)
    assert (identity.cluster, identity.name) == (authority.cluster, "kn2")
    assert identity.ticket_public == Signer(authority.ticket_seed()).public_key
    assert "CERTIFICATE" in Path(identity.ca).read_text()


def test_the_keys_of_one_host_go_where_o_says(key: Typed, tmp_path: Path) -> None:
    assert key.good("issue", "kn1", "-o", "a", "--address=10.1.30.1") == "a\n"
    assert key.good("issue", "kn1", "-o", "-").startswith("gproc://")
    assert "belong to one host" in key.refused("issue", "kn1", "kn2", "-o", "b")
    assert "--out goes with" in key.refused("list", "-o", "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "home"]


def test_what_was_issued_and_revoked_is_listed(key: Typed) -> None:
    key.good("issue", "kn1", "kn2", "kn2")
    rows = key.rows()
    assert [(row["name"], row["kind"], row["revoked"], row["expired"]) for row in rows] == [
        ("kn1", "file", False, False), ("kn2", "file", False, False), ("kn2", "file", False, False),
    ]  # fmt: skip
    assert key.good("revoke", rows[1]["serial"].lower()) == f"revoked: node kn2, serial {rows[1]['serial']}\n"
    assert [row["revoked"] for row in key.rows()] == [False, True, False]
    first = read_revocations(str(key.home)).number
    assert "kn1, 1 certificates that are known" in key.good("revoke", "kn1", "kn2")
    assert read_revocations(str(key.home)).number > first
    assert [row["revoked"] for row in key.rows()] == [True, True, True]
    lines = [line.split("\t") for line in key.good("list").splitlines()]
    assert lines[0] == ["NAME", "ROLE", "SERIAL", "ISSUED", "EXPIRES", "KIND", "STATE"]
    assert [line[-1] for line in lines[1:]] == ["revoked"] * 3


def test_a_list_of_no_clusters_certificates_makes_no_directory(key: Typed) -> None:
    assert "holds no cluster's keys" in key.refused("list")
    assert "holds no cluster's keys" in key.refused("rotate")
    assert not key.home.exists()


def test_a_name_that_was_never_issued_is_told_and_no_success(key: Typed) -> None:
    """`gproc key revoke MISTYPED` had status 0, and the host that was meant went on."""
    key.good("issue", "login7")
    done = key("revoke", "logim7")
    assert (done.returncode, done.stdout.startswith("revoked: logim7, 0 certificates")) == (1, True)
    told = "no certificate of that name or serial was issued here; did you mean login7?"
    assert done.stderr == f"gproc: logim7: {told}\n"
    assert "`gproc key list` shows all" in key("revoke", "0123456789").stderr
    assert [row["revoked"] for row in key.rows()] == [False]


def test_a_host_that_was_revoked_may_be_given_another_certificate(key: Typed) -> None:
    key.good("issue", "kn1")
    key.good("revoke", "kn1")
    key.good("issue", "kn1")
    assert [row["revoked"] for row in key.rows()] == [True, False]


def test_the_clusters_keys_are_exchanged_in_two_steps(key: Typed) -> None:
    """Without a running tree no node learns of it, so all are left behind, and have to be named."""
    key.good("issue", "kn1", "kn2")
    assert "no keys are being exchanged" in key.refused("rotate", "finish")
    first = "new keys, generation 2, count beside the present ones until `gproc key rotate finish`\n"
    assert key.good("rotate").startswith(first)
    assert key.good("rotate") == (
        f"{first}hosts that have a certificate of them: none\nhosts that have none yet: kn1, kn2\n"
    )
    assert json.loads(key.good("rotate", "--json")) == {"generation": 2, "ready": [], "missing": ["kn1", "kn2"]}
    assert "say `gproc key rotate finish kn1 kn2`" in key.refused("rotate", "finish")
    assert "could not join any more: kn2; " in key.refused("rotate", "finish", "kn1")
    assert "no such host lacks a certificate of the new keys: kn9" in key.refused("rotate", "finish", "kn1", "kn9")
    assert "'now' is unknown here" in key.refused("rotate", "now")
    key.good("issue", "kn3")  # of the present keys, which everybody knows
    assert "generation 2 is the only one" in key.good("rotate", "finish", "kn1", "kn2", "kn3")
    key.good("issue", "kn1")
    assert [row["generation"] for row in key.rows()] == [1, 1, 1, 2]


def test_words_that_mean_nothing_are_refused_with_what_is_wanted(key: Typed) -> None:
    assert "one of issue, list, revoke, backup, restore, rotate is wanted" in key.refused("make")
    assert "a host is missing" in key.refused("issue")
    assert "is not a host name" in key.refused("issue", "../kn1")
    assert "run `gproc m` once" in key.refused("list")
    key.good("issue", "kn1")
    assert "is not a host name" in key.refused("revoke", "a/b")
    assert "one word too many" in key.refused("list", "kn1")
    assert "one file is wanted" in key.refused("backup")


def test_the_masters_own_certificate_is_not_revoked_by_mistake(key: Typed) -> None:
    authority = open_authority(gproc_home({"GPROC_HOME": str(key.home)}), create=True)
    load_identity(authority.home, "master", "fe")
    serial = ledger.issued(authority.home)[0].serial
    assert "the master's own certificate" in key.refused("revoke", serial)


def test_a_damaged_list_of_revoked_certificates_is_named_and_not_taken_for_an_empty_one(key: Typed) -> None:
    key.good("issue", "kn1")
    (key.home / "revoked").write_text("[1, [[")
    assert f"{key.home}/revoked is damaged" in key.refused("list")
    assert "is damaged" in key.refused("issue", "kn1")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place of an administrator who has issued and revoked a certificate, and made the backup b."""
    place = tmp_path_factory.mktemp("saved")
    key, passphrase = Typed(place), place / "passphrase"
    passphrase.write_text("correct horse battery\n")
    passphrase.chmod(0o600)
    key.good("issue", "kn1")
    key.good("revoke", "kn1")
    assert key.good("backup", "b", "--passphrase-file=passphrase").startswith("b: the keys of cluster ")
    return place


@pytest.fixture
def backed_up(saved: Path, tmp_path: Path) -> Typed:
    return Typed(Path(shutil.copytree(saved, tmp_path / "saved")))


def test_a_backup_brings_a_lost_front_end_back(backed_up: Typed) -> None:
    place, home = backed_up.place, backed_up.home
    assert stat.S_IMODE((place / "b").stat().st_mode) == 0o600
    sealed = (place / "b").read_bytes()
    assert not [name for name in ("ca.key", "ticket.key") if (home / name).read_bytes() in sealed]
    backed_up.good("restore", "b", "--passphrase-file=passphrase", home="new")
    for name in ("ca.key", "ca.crt", "ticket.key", "ticket.pub", "issued", "revoked"):
        one, other = home / name, place / "new" / name
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_mode == other.stat().st_mode
    assert "has keys already" in backed_up.refused("restore", "b", "--passphrase-file=passphrase", home="new")


def test_a_wrong_passphrase_opens_nothing(backed_up: Typed) -> None:
    (backed_up.place / "passphrase").write_text("correct horse batterie\n")
    said = backed_up.refused("restore", "b", "--passphrase-file=passphrase", home="new")
    assert "the passphrase is wrong, or the backup is damaged" in said
    assert not list((backed_up.place / "new").iterdir())


def test_the_terminal_is_asked_twice_for_the_passphrase_of_a_backup(key: Typed) -> None:
    key.good("issue", "kn1")
    assert "there is no terminal" in key.refused("backup", "b")
    ours, theirs = pty.openpty()
    env = {**os.environ, "GPROC_HOME": str(key.home)}
    process = subprocess.Popen(
        [sys.executable, "-m", "gproc", "key", "backup", "b"], env=env, cwd=key.place, stdin=theirs, stdout=theirs,
        stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    for prompt in (b"Passphrase: ", b"Once more: "):
        while prompt not in said:
            said += os.read(ours, 1000)
        os.write(ours, b"correct horse battery\n")
    assert process.wait(PATIENCE_S) == 0
    os.close(ours)
    assert b"correct" not in said
    assert opened_backup((key.place / "b").read_bytes(), b"correct horse battery")


def test_a_backup_that_is_cut_off_is_refused(backed_up: Typed) -> None:
    whole = (backed_up.place / "b").read_bytes()
    for cut in (0, 5, 20, 40, 200):
        with pytest.raises(TrustError):
            opened_backup(whole[:cut], b"correct horse battery")


def test_debug_says_what_is_written(key: Typed) -> None:
    assert "writes a key and a certificate for kn1 to kn1.keys" in key("issue", "-debug=1", "kn1").stderr


def test_a_key_is_not_written_into_another_users_fifo(key: Typed) -> None:
    """In a directory of a user, root wrote the key of a node into whatever FIFO that user had made."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a FIFO to another user")
    key.good("issue", "kn1")
    fifo = key.place / "kn7.keys"
    os.mkfifo(fifo)
    os.chown(fifo, 64_321, 64_321)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    assert "it is a pipe or a device of uid 64321, who would read it" in key.refused("issue", "kn7")
    assert os.read(reader, 100) == b""
    os.chown(fifo, 0, 0)
    os.chmod(fifo, 0o644)
    assert "it is a pipe that other users may read" in key.refused("issue", "kn7")
    os.chmod(fifo, 0o600)
    key.good("issue", "kn7")  # one's own, as of a shell's >(gpg -e), is taken
    assert os.read(reader, 8) == b"gproc://"
    os.close(reader)


def test_a_key_that_cannot_be_written_is_not_on_the_list(key: Typed) -> None:
    key.good("issue", "kn1")
    (key.place / "kn2.keys").mkdir()
    assert key.refused("issue", "kn2") == "gproc: cannot write kn2.keys: Is a directory\n"
    assert "cannot write nowhere/kn3" in key.refused("issue", "kn3", "-o", "nowhere/kn3")
    assert [row["name"] for row in key.rows()] == ["kn1"]


@pytest.mark.parametrize("words", [("issue", "../x"), ("issue", ""), ("revoke", "a b"), ("issue", "n", "--address=x")])
def test_what_is_no_host_is_a_wrong_command_line(key: Typed, words: tuple[str, ...]) -> None:
    key.good("issue", "kn1")
    assert key(*words).returncode == 2
