"""A program that an administrator does not allow does not run, at the master or on a node; no user can forge the
record."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.cluster import NOBODY, Cluster

USER: dict[str, Any] = {"uid": NOBODY}
ECHO = ("-localbin", "1", "/bin/echo", "well")


@pytest.fixture(autouse=True)
def as_root(root_only: None) -> None:
    """For commands of another user."""


def set_policy(path: Path, text: str, mode: int = 0o644) -> Path:
    """As an editor does it: a new file takes the old one's name."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(mode)
    new.rename(path)
    return path


def cluster_under(tmp_path: Path, policy: str) -> Iterator[Cluster]:
    """For a fixture: a master that obeys this policy, and node 1, which has none."""
    cluster = Cluster(tmp_path / "c")
    cluster.env["GPROC_POLICY"] = str(set_policy(tmp_path / "policy.toml", policy))
    cluster.start_master()
    del cluster.env["GPROC_POLICY"]
    cluster.slave(1)
    yield cluster
    cluster.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return set_policy(tmp_path / "policy.toml", "root = true\n[[allow]]\nusers = [0]\n")


def node_under(cluster: Cluster, path: Path) -> None:
    """Start node 1, which obeys this policy.  The master has none."""
    cluster.env["GPROC_POLICY"] = str(path)
    cluster.slave(1)
    del cluster.env["GPROC_POLICY"]


def test_who_is_not_allowed_runs_nothing_at_the_master(tmp_path: Path, path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.env["GPROC_POLICY"] = str(path)
    cluster.start_master()
    del cluster.env["GPROC_POLICY"]
    cluster.slave(1)
    for words in (ECHO, ("1", "/bin/echo", "well")):
        done = cluster.exec(*words, **USER)
        assert (done.returncode, done.stdout) == (125, b"")
        assert f"the policy does not let uid {NOBODY} run " in done.stderr.decode()
    assert cluster.exec(*ECHO).stdout == b"well\n"
    cluster.stop()


def test_a_node_refuses_for_itself_what_its_master_signed(cluster: Cluster, path: Path) -> None:
    """As if the master, or its key, were in the hands of an attacker."""
    node_under(cluster, path)
    done = cluster.exec(*ECHO, **USER)
    assert (done.returncode, done.stdout) == (125, b"")
    assert f"1: refused: the policy does not let uid {NOBODY} run the nodes' own programs" in done.stderr.decode()
    assert cluster.exec(*ECHO).stdout == b"well\n"


@pytest.mark.parametrize("broken", ["no TOML", "an unknown field", "writable by others", "somebody's"])
def test_a_policy_that_cannot_be_used_lets_nobody_in_until_it_is_repaired(
    cluster: Cluster, path: Path, broken: str
) -> None:
    node_under(cluster, path)
    good = path.read_text()
    if broken == "somebody's":
        set_policy(path, good)
        os.chown(path, NOBODY, NOBODY)
    else:
        bad = {"no TOML": "root = ", "an unknown field": good + "node = '.'\n"}.get(broken, good)
        set_policy(path, bad, 0o666 if broken == "writable by others" else 0o644)
    done = cluster.exec(*ECHO)
    assert (done.returncode, done.stdout) == (125, b"")
    assert "the policy cannot be used, so no job may run: " in done.stderr.decode()
    set_policy(path, good)
    assert cluster.exec(*ECHO).stdout == b"well\n"


def test_no_command_forges_a_record_and_no_environment_is_in_it(tmp_path: Path, path: Path) -> None:
    audit = tmp_path / "audit"
    set_policy(path, f"root = true\naudit = '{audit}'\n[[allow]]\nusers = ['*']\n")
    cluster = Cluster(tmp_path / "c")
    cluster.env["GPROC_POLICY"] = str(path)
    cluster.start_master()
    cluster.slave(1)
    del cluster.env["GPROC_POLICY"]
    forged = '\n{"act": "start", "uid": 0}\r\x1b[2J\u2028\x9b"}'
    hostile = {**USER, "env": {"SECRET": "in-the-environment"}}
    assert cluster.exec("-localbin", "1", "/bin/false", forged, "x" * 10_000, **hostile).returncode == 1
    assert cluster.exec("1", "/bin/true").returncode == 0
    cluster.stop()
    text = audit.read_bytes()
    assert all(byte == 10 or 32 <= byte < 127 for byte in text)
    assert b"in-the-environment" not in text
    records = [json.loads(line) for line in text.splitlines()]
    found = sorted((record["daemon"], record["act"], record["job"], record["uid"]) for record in records)
    jobs = ((1, NOBODY), (2, 0))
    assert found == sorted(
        (daemon, act, *job) for daemon in ("master", "slave") for act in ("start", "end") for job in jobs
    )
    first = next(record for record in records if record["act"] == "start")
    assert first["argv"] == ["/bin/false", forged]
    assert (first["argv_complete"], first["nodes"], first["action"]) == (False, "1", "run")
    ends = [(record["outcomes"], record["status"]) for record in records if record["act"] == "end"]
    assert ends == [({"exited": 1}, 1)] * 2 + [({"exited": 1}, 0)] * 2
    assert audit.stat().st_mode & 0o777 == 0o600


def test_a_refusal_is_recorded_by_who_refused(cluster: Cluster, tmp_path: Path, path: Path) -> None:
    audit = tmp_path / "audit"
    set_policy(path, f"audit = '{audit}'\n")
    node_under(cluster, path)
    assert cluster.exec(*ECHO, **USER).returncode == 125
    [record] = [json.loads(line) for line in audit.read_bytes().splitlines()]
    assert (record["daemon"], record["act"], record["uid"]) == ("slave", "refuse", NOBODY)
    assert record["reason"] == f"the policy does not let uid {NOBODY} run the nodes' own programs"


def test_a_policy_that_was_mistyped_lets_nobody_run_anything_at_master_and_node(tmp_path: Path) -> None:
    """Master and node took it for no policy at all: every user could run everything, and no log had a word of it."""
    cluster = Cluster(tmp_path / "c")
    cluster.env["GPROC_POLICY"] = str(tmp_path / "typo.toml")
    cluster.start_master()
    cluster.slave(1)
    del cluster.env["GPROC_POLICY"]
    for user in (USER, {}):
        done = cluster.exec(*ECHO, **user)
        assert (done.returncode, done.stdout) == (125, b"")
        assert "typo.toml, which GPROC_POLICY names: No such file or directory" in done.stderr.decode()
    cluster.stop()


def test_a_node_whose_policy_is_a_link_that_leads_nowhere_refuses(cluster: Cluster, path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to("nowhere")
    node_under(cluster, link)
    done = cluster.exec(*ECHO, **USER)
    assert (done.returncode, done.stdout) == (125, b"")
    assert "the policy cannot be used, so no job may run: " in done.stderr.decode()
