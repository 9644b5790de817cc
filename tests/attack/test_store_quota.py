"""A user who fills stores with programs loses only their own, on the master and on nodes; other users keep theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.test_policy import set_policy
from tests.system.cluster import NOBODY, Cluster

OTHER = 61001

POLICY = "root = true\n[[allow]]\nusers = ['*']\n[limits]\nuser_store_mib = 12\n"
MIB = 1 << 20


@pytest.fixture
def cluster(tmp_path: Path, root_only: None) -> Iterator[Cluster]:
    set_policy(tmp_path / "policy.toml", POLICY)
    cluster = Cluster(tmp_path / "c")
    yield cluster
    cluster.stop()


def start(cluster: Cluster, *, obeys: str) -> Path:
    """Start a master and a node, one of which has the policy.  Returns that one's store."""
    stores = {"master": cluster.place / "master", "node": cluster.place / "s1" / "store"}
    for daemon in stores:
        if daemon == obeys:
            cluster.env["GPROC_POLICY"] = str(cluster.place.parent / "policy.toml")
        cluster.start_master(f"--store={stores[daemon]}") if daemon == "master" else cluster.slave(1)
        cluster.env.pop("GPROC_POLICY", None)
    return stores[obeys]


def run(cluster: Cluster, name: str, size: int, uid: int) -> tuple[int, str]:
    """Run a script of the user's alone, which nobody else can read: the node does not find it on its own disk."""
    own = cluster.work / str(uid)
    if not own.exists():
        own.mkdir(mode=0o700)
        os.chown(own, uid, uid)
    path = own / name
    path.write_text(f"#!/bin/sh\necho {name}\nexit 0\n")
    with path.open("ab") as file:
        file.write(os.urandom(size // 2).hex().encode())
    path.chmod(0o755)
    os.chown(path, uid, uid)
    done = cluster.exec("-localbin=false", "--no-words", "1", str(path), uid=uid, groups=(uid,))
    return done.returncode, (done.stdout + done.stderr).decode()


def programs_in(store: Path) -> set[str]:
    """The names of the scripts that a store has."""
    return {path.name for path in (store / "roots").rglob("*.sh")}


def test_a_user_who_fills_a_nodes_store_displaces_nobody_else(cluster: Cluster) -> None:
    store = start(cluster, obeys="node")
    assert run(cluster, "others.sh", 2 * MIB, OTHER) == (0, "others.sh\n")
    for number in range(5):
        assert run(cluster, f"{number}.sh", 2 * MIB, NOBODY) == (0, f"{number}.sh\n")
    kept = programs_in(store)
    assert {"others.sh", "4.sh"} <= kept
    assert not {"0.sh", "1.sh"} & kept
    status, words = run(cluster, "large.sh", 12 * MIB, NOBODY)
    assert status == 125
    assert f"more than uid {NOBODY} may have in a store: the policy allows 12.0M, and jobs use 0" in words
    assert run(cluster, "of-root.sh", 12 * MIB, 0)[0] == 0
    assert "others.sh" in programs_in(store)


@pytest.mark.stress
def test_what_the_master_has_of_a_user_counts_for_that_user(cluster: Cluster) -> None:
    """Its bundles are all root's on the disk."""
    store = start(cluster, obeys="master")
    assert run(cluster, "first.sh", 2 * MIB, NOBODY) == (0, "first.sh\n")
    status, words = run(cluster, "large.sh", 12 * MIB, NOBODY)
    assert status == 125
    assert f"more than uid {NOBODY} may have in a store" in words
    assert run(cluster, "others.sh", 2 * MIB, OTHER) == (0, "others.sh\n")
    assert programs_in(store) == {"first.sh", "others.sh"}
