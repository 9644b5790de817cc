"""Certificates in a running tree: they are renewed, and a node that is revoked is out and stays out."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gproc
from gproc.cli.options import KeyOptions
from gproc.cli.parse import parse
from gproc.trust.authority import open_authority, provision
from gproc.trust.carried import credentials_for, one_file
from gproc.trust.certfile import stamp_in
from gproc.trust.home import gproc_home, write_file
from gproc.trust.identity import load_identity
from gproc.trust.ledger import issued
from gproc.trust.stamp import CertStamp
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster, Slave
from tests.trust.old_keys import write_old_keys


def key(cluster: Cluster, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gproc", "key", *words], env=cluster.env, cwd=cluster.work, text=True,
        capture_output=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    return done.stdout


def home_of(cluster: Cluster, name: str) -> Path:
    """A home with a certificate of that name, for which this machine can be dialled."""
    home = cluster.place / name
    provision(open_authority(str(cluster.home), create=False), name, ["127.0.0.1"], str(home))
    return home


def host(cluster: Cluster, name: str, id: int, parent: Slave | None = None) -> Slave:
    """A slave on a host of its own, by its certificate."""
    return cluster.slave(id, parent=parent, home=home_of(cluster, name))


def test_a_revoked_node_is_out_and_its_rank_is_lost_with_the_reason(cluster: Cluster) -> None:
    host(cluster, "kn1", 1)
    slave = host(cluster, "kn2", 2)
    job = cluster.begin("e", "-localbin", ".", "/bin/sh", "-c", "echo up; test $GPROC_NODE = 1 || sleep 1000")
    assert job.stdout is not None
    assert [job.stdout.readline() for _ in range(2)] == [b"up\n"] * 2
    key(cluster, "revoke", "kn2")
    cluster.master.says(r"revoked: 2 \(kn2\)")
    status, _, stderr = cluster.finish(job)
    assert status == 125
    assert "the certificate of kn2 was revoked on " in stderr
    slave.says(r"the certificate of kn2 was revoked on \S+: .*; jobs end here$")
    slave.says(r"cannot join: \S+ refused us: the certificate of kn2 was revoked on .*`gproc key issue kn2`.*")
    cluster.nothing_runs()
    assert cluster.states().keys() == {"1"}
    cluster.end(slave, 15)


def test_what_was_below_a_revoked_rack_master_goes_on_elsewhere(cluster: Cluster) -> None:
    rack = host(cluster, "kn20", 1)
    node = host(cluster, "kn1", 1, parent=rack)
    job = cluster.begin("e", "-localbin", "=1/1", "/bin/sh", "-c", "echo up; read line; echo $line; exit 7", stdin=-1)
    assert job.stdin is not None
    assert job.stdout is not None
    assert job.stdout.readline() == b"up\n"
    since = node.mark()
    key(cluster, "revoke", "kn20")
    node.says(r"joined \S+ as node \+1", since=since)
    cluster.master.says(r"1/1 \(kn1\) is reached from here")
    job.stdin.write(b"it goes on\n")
    job.stdin.close()
    assert job.stdout.read() == b"it goes on\n"
    assert job.wait(PATIENCE_S) == 7
    rack.says(r"cannot join: \S+ refused us: the certificate of kn20 was revoked")
    cluster.end(rack, 15)


def test_a_revoked_node_comes_back_neither_by_another_id_nor_below_another_node(cluster: Cluster) -> None:
    rack = host(cluster, "kn20", 1)
    home = home_of(cluster, "kn9")
    key(cluster, "revoke", "kn9")
    cluster.master.says(r"1 hosts and 0 certificates are revoked")
    for slave in (
        cluster.launch_slave("--id=2", home=home),
        cluster.launch_slave("--id=3", home=home),
        cluster.launch_slave("--id=9", home=home, parent=rack),
    ):
        slave.says(r"cannot join: \S+ refused us: the certificate of kn9 was revoked")
        cluster.end(slave, 15)
    assert cluster.states().keys() == {"1"}


def test_a_refused_slave_takes_the_new_keys_that_it_is_given(cluster: Cluster) -> None:
    home = cluster.place / "kn9"
    home.mkdir(mode=0o700)
    key(cluster, "issue", "kn9", "-o", str(home / "node.keys"), "--address=127.0.0.1")
    slave = cluster.slave(2, home=home)
    key(cluster, "revoke", "kn9")
    slave.says(r"cannot join: \S+ refused us: the certificate of kn9 was revoked")
    since = slave.mark()
    key(cluster, "issue", "kn9", "-o", str(home / "node.keys"), "--address=127.0.0.1")
    slave.says(r"joined \S+ as node 2", since=since)


def test_a_list_of_before_the_masters_start_counts(cluster: Cluster) -> None:
    home = home_of(cluster, "kn9")
    cluster.end(cluster.master, 15)
    key(cluster, "revoke", "kn9")
    cluster.start_master()
    slave = cluster.launch_slave("--id=2", home=home)
    slave.says(r"cannot join: \S+ refused us: the certificate of kn9 was revoked")
    cluster.end(slave, 15)


@pytest.fixture
def brief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster without a master.  What this test issues lasts for some seconds, what the master issues for 90 days."""
    monkeypatch.setenv("GPROC_LIFETIME_S", "12")
    return Cluster(tmp_path / "brief")


def stamp_at(path: Path) -> CertStamp:
    stamp = stamp_in(path.read_bytes())
    assert stamp is not None
    return stamp


def test_certificates_are_renewed_through_the_tree_and_programs_run_on(brief: Cluster) -> None:
    open_authority(gproc_home(brief.env), create=True)
    load_identity(str(brief.home), "master", socket.gethostname(), ["127.0.0.1"])
    brief.start_master("--orphan-timeout=4")
    rack = host(brief, "kn20", 1)
    home = brief.place / "kn1"
    home.mkdir(mode=0o700)
    authority = open_authority(str(brief.home), create=False)
    write_file(str(home / "node.keys"), one_file(credentials_for(authority, "kn1", ["127.0.0.1"], "file")), 0o600)
    node = brief.slave(1, parent=rack, home=home)
    first = stamp_at(home / "node.keys")
    job = brief.begin("e", "-localbin", "=1/1", "/bin/sh", "-c", "echo up; read line; exit 7", stdin=-1)
    assert job.stdin is not None
    assert job.stdout is not None
    assert job.stdout.readline() == b"up\n"
    for slave in (rack, node):
        slave.says(r"the certificate was renewed: it lasts until \S+Z$")
    brief.master.says(r"the master's certificate was renewed")
    assert stamp_at(home / "node.keys").expires_s > first.expires_s
    assert (home / "node.keys").stat().st_mode & 0o777 == 0o600
    while time.time() <= first.expires_s:  # not to be in time for something, but because that second has to come
        time.sleep(0.1)
    late = brief.slave(2, parent=rack)  # the rack master shows its new one
    assert late.path == "1/2"
    brief.end(node, 15)
    brief.slave(3, parent=rack, home=home)  # and the file has the new one of its node
    job.stdin.close()
    assert job.wait(PATIENCE_S) == 125
    kinds = {(entry.name, entry.kind) for entry in issued(str(brief.home))}
    assert {("kn20", "cert"), ("kn20", "renewed"), ("kn1", "file"), ("kn1", "renewed")} <= kinds
    brief.stop_behind_a_relay()


def test_a_node_with_keys_of_the_first_release_joins_and_gets_new_ones(tmp_path: Path) -> None:
    """They have another algorithm and no end; nothing has to be done by hand."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master("--orphan-timeout=4")
    home = home_of(cluster, "kn1")
    write_old_keys(open_authority(str(cluster.home), create=False), "kn1", home / "node")
    node = cluster.slave(1, home=home)
    node.says(r"the certificate was renewed: it lasts until \S+Z$")
    assert stamp_at(home / "node.crt").life_s == 90 * 86400
    cluster.end(node, 15)
    cluster.slave(1, home=home)
    cluster.stop()


@pytest.mark.stress
def test_a_new_front_end_with_the_keys_of_a_backup_has_its_nodes_again(cluster: Cluster) -> None:
    home, passphrase = home_of(cluster, "kn1"), cluster.place / "passphrase"
    passphrase.write_text("correct horse battery\n")
    passphrase.chmod(0o600)
    node = cluster.slave(1, home=home)
    home_of(cluster, "kn9")
    key(cluster, "revoke", "kn9")
    key(cluster, "backup", "b", f"--passphrase-file={passphrase}")
    port = cluster.port
    cluster.end(cluster.master, 9)
    cluster.socket.unlink()
    shutil.rmtree(cluster.home)
    key(cluster, "restore", "b", f"--passphrase-file={passphrase}")
    since = node.mark()
    cluster.start_master(port=port)
    cluster.master.says("1 hosts and 0 certificates are revoked")
    node.says("this is node 1|joined", since=since)
    cluster.master.says(r"arrived: 1 \(kn1\)")
    assert cluster.exec("-localbin", "1", "/bin/true").returncode == 0


RECIPES = Path(gproc.__file__).parents[1] / "docs" / "security.md"


def test_the_commands_of_the_recipes_can_be_typed_as_they_stand() -> None:
    lines = [line.split() for line in RECIPES.read_text().splitlines() if line.startswith("    gproc key ")]
    assert {line[2] for line in lines} == {"issue", "list", "revoke", "backup", "restore", "rotate"}
    for line in lines:
        assert isinstance(parse(line[1:]), KeyOptions)
