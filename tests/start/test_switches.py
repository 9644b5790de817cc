"""What each switch of `gproc start`, `stop`, `restart` and `remove` does."""

from __future__ import annotations

import json
import os
import select
import signal
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.start.lab import HEAD, Lab
from tests.start.test_start import nodes, started


@pytest.mark.stress
def test_what_a_slave_and_its_master_are_told_holds(lab: Lab) -> None:
    told = ("--cmd-port=6700", "--bin-root=/tmp/elsewhere", f"--address={HEAD}")
    for words in (("start", "-w", "h1"), ("restart", "1")):
        done = lab.run(*words, *told)
        assert done.returncode == 0, done.stderr
        (node,) = json.loads(lab.run("i", "--json").stdout)["nodes"]
        assert node["address"] == f"{lab.hosts['h1']}:6700"
        ran = lab.run("e", "1", "/bin/sh", "-c", "echo $GPROC_ROOT")
        assert (ran.stdout, ran.stderr) == ("/tmp/elsewhere\n", "")
        assert f"{HEAD}:6700" in lab.shell("h1", "netstat -tn")
    assert "elsewhere" in lab.shell("h1", "ls /tmp")
    assert lab.run("remove", "--bin-root=/tmp/elsewhere", "1").returncode == 0
    assert "elsewhere" not in lab.shell("h1", "ls /tmp")
    assert lab.run("stop").returncode == 0
    assert not lab.socket.exists()


def test_the_nodes_of_a_locale_are_started_level_by_level(lab: Lab, tmp_path: Path) -> None:
    """As startkane did: first the rack masters, then the nodes below them."""
    tmp_path.chmod(0o755)
    locale = tmp_path / "lab.toml"
    addresses = "".join(f'{name} = "{lab.hosts[name]}"\n' for name in ("h1", "h2", "h3"))
    locale.write_text(
        f'master = "head"\n[[rack]]\nhead = "h1"\nnodes = ["h2", "h3"]\n[addresses]\nhead = "{HEAD}"\n{addresses}'
    )
    assert started(lab, f"-locale={locale}", "-l", "1", "-h", "3", "2")["h2"]["reason"] == (
        "its parent h1 is not connected: start it first"
    )
    assert list(started(lab, f"-locale={locale}", "-l", "1", "-h", "3", "1")) == ["h1"]
    assert list(started(lab, f"-locale={locale}", "-l", "1", "-h", "2", "2")) == ["h2"]
    assert nodes(lab) == {"1": "h1", "1/1": "h2"}
    assert {host: node["state"] for host, node in started(lab, f"-locale={locale}").items()} == dict.fromkeys(
        ("h1", "h2", "h3"), "up"
    )
    assert nodes(lab) == {"1": "h1", "1/1": "h2", "1/2": "h3"}


def test_a_master_in_the_foreground_ends_the_tree_at_ctrl_c(lab: Lab) -> None:
    process = lab.begin("start", "-w", "h1", "--foreground", start_new_session=True)
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], PATIENCE_S)[0]
    assert "1 up" in process.stdout.readline()
    assert nodes(lab) == {"1": "h1"}
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert not lab.socket.exists()
    lab.await_no_slave("h1")


@pytest.mark.parametrize(
    ("words", "patience_s"),
    [
        pytest.param(("start", "-w", "hanging,h1"), 10, marks=pytest.mark.stress, id="start"),
        pytest.param(("restart", "1-2"), 10, marks=pytest.mark.stress, id="restart"),
        pytest.param(("stop", "1-2"), 4, id="stop"),
        pytest.param(("remove", "1-2"), 4, marks=pytest.mark.stress, id="remove"),
    ],
)
def test_so_many_logins_at_a_time_and_each_as_long_as_it_may_take(
    lab: Lab, silent: None, words: tuple[str, ...], patience_s: int
) -> None:
    """With one at a time the host that says nothing is given up before the next is tried; with two it comes last.

    The other host has to be done within that time, and a slave that starts on a busy machine takes seconds.
    """
    started(lab, "-w", "hanging,h1", "--connect-timeout=1")
    for parallel, order in (("1", ["hanging", "h1"]), ("2", ["h1", "hanging"])):
        lab.run("stop", "2")
        if words[0] in ("stop", "remove"):
            started(lab, "-w", "hanging,h1", "--connect-timeout=1")
        done = lab.run(*words, f"--connect-timeout={patience_s}", f"--parallel={parallel}")
        assert [line.split("\t")[0] for line in done.stderr.splitlines()] == order
        assert f"no answer within {patience_s} s" in done.stderr


def test_every_command_that_logs_in_can_accept_new_host_keys(lab: Lab) -> None:
    known = lab.home / ".ssh" / "known_hosts"
    before = known.read_text()
    try:
        for words in (("start", "-w", "h1"), ("restart", "1"), ("stop", "1"), ("remove", "1")):
            known.unlink()
            assert "not in known_hosts" in lab.run(*words).stderr
            assert lab.run(*words, "--accept-new-host-keys").returncode == 0
            assert lab.hosts["h1"] in known.read_text()
    finally:
        known.write_text(before)


def test_every_command_that_logs_in_can_do_it_by_another_ssh(lab: Lab) -> None:
    own = f"{lab.home}/.ssh"  # ssh(1) looks for the user's home in /etc/passwd
    command = f"ssh -F {own}/config -i {own}/id_ed25519 -o UserKnownHostsFile={own}/known_hosts"
    for words in (("start", "-w", "h[1-2]"), ("restart", "1-2")):
        done = lab.run(*words, f"--ssh-command={command}", f"--address={HEAD}")
        assert done.returncode == 0, done.stderr
        assert nodes(lab) == {"1": "h1", "2": "h2"}
    done = lab.run("start", "-w", "nobody-knows", f"--ssh-command={command}", f"--address={HEAD}")
    assert "Could not resolve hostname" in done.stderr
    assert lab.run("stop", "1-2", f"--ssh-command={command}").returncode == 0
    assert nodes(lab) == {}
    assert lab.run("remove", "1-2", f"--ssh-command={command}").returncode == 0


def test_programs_get_json_of_all_of_them(lab: Lab) -> None:
    ends = {"stop": "stopped", "remove": "removed"}
    for words in (("start", "-w", "h1"), ("restart", "1"), ("stop", "1"), ("remove", "1")):
        state = ends.get(words[0], "up")
        (node,) = json.loads(lab.run(*words, "--json").stdout)["nodes"]
        assert (node["host"], node["node"], node["state"], node["reason"]) == ("h1", "1", state, "")


def test_each_says_its_steps(lab: Lab) -> None:
    said = lab.run("start", "-debug=1", "-w", "h1").stderr
    assert "runtime " in said
    assert "started the master, process " in said
    assert "restarts the slaves on h1" in lab.run("restart", "-debug=1", "1").stderr
    assert "stops the slaves on h1" in lab.run("stop", "-debug=1", "1").stderr
    assert "removes gproc from h1" in lab.run("remove", "-debug=1", "1").stderr
