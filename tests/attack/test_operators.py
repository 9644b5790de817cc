"""Jobs of others: a user who is no operator can see and do nothing; an operator can do what the policy says."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attack.test_policy import cluster_under
from tests.system.cluster import NOBODY, Cluster
from tests.system.screen import Screen

OWNER: dict[str, Any] = {"uid": NOBODY}
SEES: dict[str, Any] = {"uid": 61001, "groups": (61001,)}
KILLS: dict[str, Any] = {"uid": 61002, "groups": (61002, 61050)}
STRANGER: dict[str, Any] = {"uid": 61003, "groups": (61003,)}

POLICY = """
root = true
audit = "{audit}"
[[allow]]
users = ["*"]
[[operate]]
users = [61001]
may = ["output"]
[[operate]]
groups = [61050]
may = ["kill"]
"""


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def overseen(tmp_path: Path, audit: Path, root_only: None) -> Iterator[Cluster]:
    yield from cluster_under(tmp_path, POLICY.format(audit=audit))


SAYS = "echo secret; exec sleep 1000"
READS = "while :; do echo tick; sleep 0.1; done & while read x; do eval $x; done"


def begun(cluster: Cluster, script: str, *switches: str) -> str:
    """A shell of the owner's that goes on."""
    words = ("-localbin", "1", "/bin/sh", "-c", script)
    done = cluster.exec("--detach", *switches, *words, **OWNER)
    assert done.returncode == 0, done.stderr
    return str(int(done.stdout))


def said(cluster: Cluster, mode: str, *words: str, **who: Any) -> tuple[int, str]:
    done = cluster.command(mode, *words, **who)
    return done.returncode, (done.stdout + done.stderr).decode()


def seen(cluster: Cluster, **who: Any) -> list[str]:
    status, listed = said(cluster, "ps", "--json", **who)
    assert status == 0, listed
    return [str(job["job"]) for job in json.loads(listed)]


def test_operators_see_and_end_what_the_policy_lets_them_and_others_nothing(overseen: Cluster, audit: Path) -> None:
    number = begun(overseen, SAYS)
    assert seen(overseen, **STRANGER) == []
    for mode in ("logs", "attach", "kill", "wait", "rm"):
        status, words = said(overseen, mode, number, **STRANGER)
        assert status != 0 and f"you have no job {number}" in words, words
    for who in (SEES, KILLS):
        assert seen(overseen, **who) == [number]
    status, words = said(overseen, "kill", number, **SEES)
    assert status == 125 and f"the policy does not let you end job {number}, which is another user's" in words
    for mode in ("logs", "attach"):
        status, words = said(overseen, mode, number, **KILLS)
        assert status == 125 and f"the policy does not let you see the output of job {number}" in words
    for who in (SEES, KILLS):
        assert "is another user's" in said(overseen, "rm", number, **who)[1]
    assert said(overseen, "kill", number, **KILLS)[0] == 0
    assert said(overseen, "wait", number, **KILLS)[0] == 128 + signal.SIGTERM
    assert said(overseen, "logs", number, **SEES) == (0, "secret\n")
    assert "is another user's" in said(overseen, "rm", number, **KILLS)[1]
    records = [json.loads(line) for line in audit.read_bytes().splitlines()]
    acts = {(each["act"], each["uid"], each["owner"]) for each in records if "owner" in each}
    assert acts == {("output", SEES["uid"], NOBODY), ("kill", KILLS["uid"], NOBODY)}
    assert {each["signal"] for each in records if each["act"] == "kill"} == {int(signal.SIGTERM)}


def test_who_may_not_see_the_output_of_a_job_sees_no_stacks_by_gdb_either(overseen: Cluster) -> None:
    job = begun(overseen, SAYS)
    for who, why in ((KILLS, "see the output of"), (SEES, "end")):
        status, text = said(overseen, "stacks", "--gdb", job, **who)
        assert status == 125 and f"the policy does not let you {why} job {job}" in text
    assert said(overseen, "stacks", job, **SEES)[0] == 0


@pytest.mark.stress
def test_an_operator_types_nothing_into_a_job_of_another_user(overseen: Cluster, tmp_path: Path) -> None:
    """What is typed into a shell is run as its owner."""
    number = begun(overseen, READS, "-t")
    made = tmp_path / "made"
    attached = Screen(overseen, number, mode="attach", uid=SEES["uid"], groups=SEES["groups"])
    try:
        attached.shows("or it is another user's")
        attached.shows("tick")
        attached.type(f"touch {made}\n")
        attached.process.send_signal(signal.SIGINT)
        attached.shows(f"the policy does not let you end job {number}")
        assert attached.ends() == 125
    finally:
        attached.close()
    assert said(overseen, "kill", "-s", "KILL", number, **OWNER)[0] == 0
    assert said(overseen, "wait", number, **OWNER)[0] == 128 + signal.SIGKILL
    assert not os.path.exists(made)
