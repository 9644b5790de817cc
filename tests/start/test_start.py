"""From ssh keys to a running tree in one command, on hosts with sshd and busybox and nothing else."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
from typing import Any

from gproc.trust.caller import listener_of
from tests.patience import PATIENCE_S
from tests.start.lab import HEAD, NETWORK, Lab


def nodes(lab: Lab) -> dict[str, str]:
    """Place and host of each node that is connected."""
    state = json.loads(lab.run("i", "--json").stdout)
    return {node["path"]: node["host"] for node in state["nodes"]}


def started(lab: Lab, *words: str) -> dict[str, Any]:
    """What gproc start says of each host."""
    done = lab.run("start", "--json", *words)
    assert done.stdout, done.stderr
    return {node["host"]: node for node in json.loads(done.stdout)["nodes"]}


def test_one_command_makes_a_tree_and_the_next_runs_a_program_on_it(lab: Lab) -> None:
    done = lab.run("start", "-w", "h[1-3]")
    assert (done.returncode, done.stderr.count("up")) == (0, 3), done.stderr
    assert nodes(lab) == {"1": "h1", "2": "h2", "3": "h3"}
    ran = lab.run("e", "-l", ".", "/bin/sh", "-c", "echo $GPROC_NODE")
    assert sorted(ran.stdout.splitlines()) == ["1: 1", "2: 2", "3: 3"], ran.stderr


def test_what_a_host_has_is_not_sent_again_and_twice_is_harmless(lab: Lab) -> None:
    started(lab, "-w", "h1")
    again = started(lab, "-w", "h1")
    assert again["h1"]["reason"] == "was up"
    lab.run("stop")
    warm = started(lab, "-w", "h1")
    assert warm["h1"]["state"] == "up"
    assert warm["h1"]["sent_bytes"] < 10_000


def test_hosts_beyond_the_fanout_are_children_of_the_first_and_places_stay(lab: Lab) -> None:
    assert {host: node["node"] for host, node in started(lab, "-w", "h[1-2]", "--fanout=2").items()} == {
        "h1": "1", "h2": "2",
    }  # fmt: skip
    assert started(lab, "-w", "h3,h1", "--fanout=2")["h3"]["node"] == "1/1"
    assert nodes(lab) == {"1": "h1", "1/1": "h3", "2": "h2"}
    ran = lab.run("e", "./.", "/bin/true")
    assert ran.returncode == 0, ran.stderr


def test_gproc_stop_ends_every_slave_and_gproc_start_starts_those_of_before(lab: Lab) -> None:
    started(lab, "-w", "h[1-2]")
    assert lab.run("stop").returncode == 0
    for host in ("h1", "h2"):
        lab.await_no_slave(host)
    assert {host: node["state"] for host, node in started(lab).items()} == {"h1": "up", "h2": "up"}


def test_what_a_slave_says_before_it_dials_is_in_its_log_and_is_no_reason_why_it_cannot_join(lab: Lab) -> None:
    """Which policy holds, for example: `gproc start` took the slave's last line for why a host did not join."""
    found = started(lab, "-w", "h1")
    assert (found["h1"]["state"], found["h1"]["reason"]) == ("up", "")
    text = lab.shell("h1", "cat /var/cache/gproc/runtimes/s-*.log")
    assert "no policy: there is no /etc/gproc/policy.toml, so everybody may run everything" in text


def test_a_slave_that_was_started_by_hand_is_not_said_to_be_none(lab: Lab) -> None:
    """`gproc stop 1` said that no slave ran, and node 1 stayed in the tree."""
    started(lab, "-w", "h1")
    assert lab.run("stop", "1").returncode == 0
    place = lab.place / "by-hand"
    words = ["s", "--parent=127.0.0.1", "--cmd-port=6700", f"--bin-root={place}/x", f"--store={place}/store"]
    ours = "not started by gproc start: end gproc s there as it was begun (systemctl stop), or by SIGTERM"
    for id_ in ("1", "5"):
        command = [*lab.in_head(), sys.executable, "-m", "gproc", *words, f"--id={id_}"]
        with subprocess.Popen(command, env=lab.environ(), stderr=subprocess.PIPE, text=True) as by_hand:
            try:
                assert by_hand.stderr is not None
                next(line for line in by_hand.stderr if "joined" in line)
                (host,) = nodes(lab).values()
                done = lab.run("stop", id_)
                said = done.stdout + done.stderr
                assert (done.returncode, f"{id_} ({host}) was {ours}" in said) == (1 if id_ == "1" else 2, True), said
                named = lab.run("stop", host)
                assert (named.returncode, f"{id_} ({host}) was {ours}" in named.stderr) == (2, True), named.stderr
            finally:
                by_hand.terminate()
    assert "no slave of this cluster ran" in lab.run("stop", "1").stderr


def test_some_nodes_are_stopped_and_started_again(lab: Lab) -> None:
    started(lab, "-w", "h[1-3]")
    done = lab.run("stop", "h[2-3]")
    assert (done.returncode, nodes(lab)) == (0, {"1": "h1"}), done.stderr
    assert lab.run("stop", "2", "--json").stdout.count("no slave of this cluster ran") == 1
    assert started(lab, "--failed")["h2"]["state"] == "up"
    assert nodes(lab) == {"1": "h1", "2": "h2", "3": "h3"}
    before = lab.slave("h2")
    assert lab.run("restart", "h2").returncode == 0
    assert lab.slave("h2") not in (before, "")
    assert len(nodes(lab)) == 3
    unknown = lab.run("stop", "h[2-3],h7")
    assert (unknown.returncode, unknown.stderr) == (2, "gproc: gproc start has started nothing on h7\n")
    assert len(nodes(lab)) == 3


def test_a_slave_that_another_version_had_started_or_that_runs_from_elsewhere_was_not_found(lab: Lab) -> None:
    started(lab, "-w", "h[1-2]")
    as_another = "cd /var/cache/gproc/runtimes && mv helper-* helper-" + "0" * 32
    lab.shell("h1", as_another)
    assert lab.run("stop", "h1").returncode == 0
    assert lab.slave("h1") == ""
    lab.shell("h2", f"{as_another}; mkdir -m 700 /tmp/gproc.1; cd /tmp/gproc.1; mv /var/cache/gproc/runtimes/* .")
    before = lab.slave("h2")
    assert lab.run("restart", "h2").returncode == 0
    assert lab.shell("h2", "ps | grep -c '[_]_started'").strip() == "1"
    assert len(lab.shell("h2", "ls -d /tmp/gproc.1/helper-* /var/cache/gproc/runtimes/helper-*").split()) == 2
    assert lab.slave("h2") != before
    lab.run("stop")
    lab.shell("h2", "rm -rf /tmp/gproc.1")


def test_a_host_that_was_named_twice_had_two_slaves_without_a_word(lab: Lab) -> None:
    lab.alias("again", lab.hosts["h1"])
    reasons = sorted(node["reason"] for node in started(lab, "-w", "h[1-2],again").values())
    assert reasons[:2] == ["", ""]
    assert re.fullmatch(rf"it is the same machine as (h1|again), by its address {lab.hosts['h1']}", reasons[2])


def test_a_slave_whose_master_was_killed_is_replaced(lab: Lab) -> None:
    lab.run("start", "-w", "h1")
    pid = lab.slave("h1")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(lab.socket))
        os.kill(listener_of(connection)[0], signal.SIGKILL)
    assert started(lab, "-w", "h1")["h1"]["state"] == "up"
    assert lab.slave("h1") not in (pid, "")


def test_no_key_is_in_a_file_an_argument_or_the_environment_of_a_host(lab: Lab) -> None:
    started(lab, "-w", "h1")
    everywhere = (
        "for f in $(find / -xdev -type f; ls -d /proc/[0-9]*/cmdline /proc/[0-9]*/environ);"
        ' do grep -l "PRIVATE[ ]KEY" "$f"; done 2>/dev/null'
    )
    found = set(lab.shell("h1", everywhere).split())
    programs = {path for path in found if path.endswith((".so", ".pyc", "/sshd", "/libcrypto.so.3", "/libssl.so.3"))
                or "/lib" in path or path == "/usr/sbin/sshd"}  # fmt: skip
    assert found - programs <= {"/etc/host_key"}


def test_ctrl_c_leaves_nothing_half_started(lab: Lab) -> None:
    """The slave cannot reach its master, and tries."""
    lab.await_no_slave("h1")  # of the test before
    process = lab.begin("start", "-w", "h1", "--address=10.84.7.99", "--connect-timeout=60", start_new_session=True)
    while not lab.slave("h1"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    lab.await_no_slave("h1")


def test_the_front_ends_address_is_the_one_that_nodes_reach(lab: Lab) -> None:
    started(lab, "-w", "h1")
    assert f"{HEAD}:6666" in lab.shell("h1", "netstat -tn")


EVERY_FILE = "find / -xdev -path /proc -prune -o -path '*/.ssh*' -prune -o -print | sort; ls -a /dev/shm /run /tmp"


def test_nothing_is_left_on_a_host_that_is_removed_and_it_is_forgotten(lab: Lab) -> None:
    lab.shell("h1", "rm -rf /var/cache/gproc /tmp/xproc")
    before = lab.shell("h1", EVERY_FILE)
    started(lab, "-w", "h[1-2]")
    assert lab.run("e", "1", "/bin/echo", "x").returncode == 0
    assert lab.shell("h1", EVERY_FILE) != before
    assert lab.run("drain", "h1").returncode == 0
    removed = json.loads(lab.run("remove", "--json", "h1").stdout)["nodes"][0]
    assert (removed["state"], removed["reason"]) == ("removed", "")
    assert lab.shell("h1", EVERY_FILE) == before
    assert nodes(lab) == {"2": "h2"}
    again = lab.run("remove", "h1")
    assert (again.returncode, "has started nothing on h1" in again.stderr) == (2, True)
    lab.run("stop")
    (lab.gproc_home / "started.json").unlink()
    started(lab, "-w", "h1")
    assert lab.run("e", "1", "/bin/true").returncode == 0, "a host that comes again is not drained"


def test_a_host_with_another_slave_keeps_what_that_needs(lab: Lab) -> None:
    started(lab, "-w", "h1")
    with lab.path("h1", "var/cache/gproc/runtimes/s-another.lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        removed = json.loads(lab.run("remove", "--json", "h1").stdout)["nodes"][0]
    assert removed["state"] == "removed"
    assert "files were left: another slave of this user runs there" in removed["reason"]
    assert lab.slave("h1") == ""
    assert "helper" in lab.shell("h1", "ls /var/cache/gproc/runtimes")


def test_what_a_slave_has_left_that_was_killed_with_its_cluster_keeps_nothing_there(lab: Lab) -> None:
    """Its lock is a file like any other, which nobody holds."""
    started(lab, "-w", "h1")
    lab.path("h1", "var/cache/gproc/runtimes/s-another.lock").touch()
    removed = json.loads(lab.run("remove", "--json", "h1").stdout)["nodes"][0]
    assert (removed["state"], removed["reason"]) == ("removed", "")
    assert lab.shell("h1", "ls -d /var/cache/gproc 2>/dev/null; true") == ""


def test_a_parent_is_not_removed_before_its_children_and_who_is_gone_is_forgotten_if_asked(lab: Lab) -> None:
    started(lab, "-w", "h[1-3]", "--fanout=2")
    done = lab.run("remove", "h1")
    assert (done.returncode, done.stderr) == (2, "gproc: h1 is the parent of h3 (1/1): remove these too\n")
    config = lab.home / ".ssh" / "config"
    reachable = config.read_text()
    config.write_text(reachable.replace(f"HostName {lab.hosts['h2']}", f"HostName {NETWORK}.99"))
    try:
        done = lab.run("remove", "--connect-timeout=1", "h2")
        assert (done.returncode, "h2" in (lab.gproc_home / "started.json").read_text()) == (1, True)
        done = lab.run("remove", "--connect-timeout=1", "--forget", "h2")
        assert (done.returncode, "h2" in (lab.gproc_home / "started.json").read_text()) == (1, False)
    finally:
        config.write_text(reachable)
    assert lab.run("stop").returncode == 0


def test_two_at_once_make_one_tree(lab: Lab) -> None:
    processes = [lab.begin("start", "-w", "h1,h2") for _ in range(2)]
    ended = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert sum("waits for gproc start (process" in err for _, err in ended) <= 1, ended
    assert lab.run("e", "./.", "/bin/hostname").stdout.split() in (["h1", "h2"], ["h2", "h1"])
