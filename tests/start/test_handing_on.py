"""The front end sends the runtime once or twice, and nodes hand it on: or it sends to each, and nothing is lost."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from gproc.runtime.making import runtime_of_this_machine
from tests.start.lab import Lab
from tests.start.test_start import started

HALF_OF_A_RUNTIME = 4_000_000


def bare(lab: Lab, *hosts: str) -> None:
    """These hosts have no runtime."""
    for host in hosts:
        lab.await_no_slave(host)
        lab.shell(host, "rm -rf /var/cache/gproc/runtimes")


def sent_a_runtime(found: dict[str, Any]) -> set[str]:
    """The hosts to which the front end sent the runtime."""
    return {host for host, node in found.items() if node["sent_bytes"] > HALF_OF_A_RUNTIME}


def test_a_rack_master_hands_the_runtime_on_to_those_below_it(lab: Lab) -> None:
    bare(lab, "h1", "h2", "h3")
    found = started(lab, "-w", "h[1-3]", "--fanout=1")
    assert {node["state"] for node in found.values()} == {"up"}, found
    assert sent_a_runtime(found) == {"h1"}
    assert {host: node["runtime_from"] for host, node in found.items()} == {"h1": "", "h2": "h1", "h3": "h2"}
    for host in ("h1", "h2", "h3"):
        assert lab.shell(host, "ls -a /var/cache/gproc/runtimes").count(".part") == 0
        assert lab.shell(host, "ps").count(" bootstrap ") == 0, "the process that hands it on ends with the start"


def test_a_node_that_is_up_already_need_not_hand_it_on(lab: Lab) -> None:
    """h1 has no archive any more: the front end sends it to h2, below it, and that to h3."""
    started(lab, "-w", "h1", "--fanout=1")
    bare(lab, "h2", "h3")
    found = started(lab, "-w", "h[1-3]", "--fanout=1")
    assert sent_a_runtime(found) == {"h2"}
    assert found["h3"]["runtime_from"] == "h2"


@pytest.mark.stress
def test_a_node_that_cannot_reach_its_rack_master_for_it_gets_it_from_the_front_end(lab: Lab) -> None:
    """A firewall lets the child through to the parent's own port only."""
    bare(lab, "h1", "h2")
    lab.shell("h2", f"ip route add unreachable {lab.hosts['h1']}/32")
    try:
        found = started(lab, "-w", "h[1-2]", "--fanout=1", "--connect-timeout=2")
    finally:
        lab.shell("h2", f"ip route del unreachable {lab.hosts['h1']}/32")
    assert sent_a_runtime(found) == {"h1", "h2"}
    assert "cannot join" in found["h2"]["reason"], "it has its runtime, and its slave tries"
    assert started(lab, "--failed")["h2"]["state"] == "up"


@pytest.mark.stress
def test_siblings_that_cannot_reach_each_other_get_it_from_the_front_end_and_that_is_said(lab: Lab) -> None:
    bare(lab, "h1", "h2", "h3")
    for host in ("h1", "h2", "h3"):
        for other in ("h1", "h2", "h3"):
            if other != host:
                lab.shell(host, f"ip route add unreachable {lab.hosts[other]}/32")
    try:
        found = started(lab, "-w", "h[1-3]")
    finally:
        for host in ("h1", "h2", "h3"):
            for other in ("h1", "h2", "h3"):
                lab.shell(host, f"ip route del unreachable {lab.hosts[other]}/32")
    assert {node["state"] for node in found.values()} == {"up"}, found
    assert sent_a_runtime(found) == {"h1", "h2", "h3"}
    told = [node["reason"] for node in found.values() if node["reason"]]
    assert all("did not hand the runtime on: No route to host; it was sent from here" in reason for reason in told)


def test_what_a_start_that_was_broken_off_left_is_not_sent_again(lab: Lab) -> None:
    bare(lab, "h1")
    runtime = runtime_of_this_machine(
        {"HOME": str(lab.home), "XDG_CACHE_HOME": str(lab.place / "cache"), "GPROC_HOME": str(lab.gproc_home)}
    )
    directory = "/var/cache/gproc/runtimes"
    part = lab.place / "part"
    part.write_bytes(runtime.archive[:HALF_OF_A_RUNTIME])
    lab.shell("h1", f"mkdir -p {directory}; chmod 700 /var/cache/gproc {directory}")
    boot_id = lab.shell("h1", "cat /proc/sys/kernel/random/boot_id").strip()
    lab.put("h1", part, f"{directory}/runtime-{runtime.digest}.part-{boot_id}-h1")
    found = started(lab, "-w", "h1")
    assert found["h1"]["state"] == "up"
    assert found["h1"]["sent_bytes"] < len(runtime.archive) - HALF_OF_A_RUNTIME + 200_000


@pytest.mark.stress
def test_a_plain_start_says_what_went_over_the_front_ends_link(lab: Lab) -> None:
    bare(lab, "h1", "h2")
    done = lab.run("start", "-w", "h[1-2]", "--fanout=1")
    assert "2 up in" in done.stdout
    sent_mb = float(done.stdout.rpartition(", ")[2].split()[0])
    assert 5 < sent_mb < 12
    assert json.loads(lab.run("i", "--json").stdout)["nodes"]


SHARED = r"""
mkdir -p "$root/var/cache" && mount --bind SHARED "$root/var/cache"
"""


def test_hosts_that_share_a_directory_and_are_started_at_once_are_all_up_and_leave_nothing(lab: Lab) -> None:
    shared = lab.place / "at-once"
    shared.mkdir(exist_ok=True)
    shell = SHARED.replace("SHARED", str(shared))
    names = ("same1", "same2", "same3")
    for name in names:
        lab.add(name, more=shell)
    for name in names:
        lab.ssh(name, "true")
    found = started(lab, "-w", ",".join(names))
    assert {node["state"] for node in found.values()} == {"up"}, found
    left = [name for name in os.listdir(shared / "gproc" / "runtimes") if ".part" in name or name.startswith(".")]
    assert left == []


LATE = r"""
printf '#!/bin/sh\nsleep 2\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n' >"$root/root/late"
chmod 755 "$root/root/late"
echo "ForceCommand /root/late" >>"$root/etc/sshd_config"
"""


def test_a_child_that_shares_its_parents_directory_and_comes_first_does_not_keep_it_waiting(lab: Lab) -> None:
    """As with homes on a file server: the host that unpacks a runtime there locks the others out."""
    shared = lab.place / "shared"
    shared.mkdir(exist_ok=True)
    shell = SHARED.replace("SHARED", str(shared))
    lab.add("late", more=shell + LATE)
    lab.add("early", more=shell)
    for host in ("late", "early"):
        lab.ssh(host, "true")
    found = started(lab, "-w", "late,early", "--fanout=1")
    assert {node["state"] for node in found.values()} == {"up"}, found
    assert found["early"]["node"] == "1/1"
    assert sent_a_runtime(found) == {"late"}
