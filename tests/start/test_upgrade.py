"""`gproc upgrade`: a slave of another version is replaced when nothing runs there, and gets no new jobs until then."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import gproc
from tests.start.lab import HEAD, Lab
from tests.start.test_start import nodes, started

pytestmark = pytest.mark.stress  # another runtime has to be made


@pytest.fixture
def newer(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The directory of another gproc, which says that it is 9.9.9."""
    place = tmp_path_factory.mktemp("newer")
    shutil.copytree(Path(gproc.__file__).parent, place / "gproc", ignore=shutil.ignore_patterns("__pycache__"))
    (source := place / "gproc" / "__init__.py").write_text(
        source.read_text().replace(f'__version__ = "{gproc.__version__}"', '__version__ = "9.9.9"')
    )
    yield str(place)
    lab.run("stop")
    shutil.rmtree(place)


def versions(lab: Lab) -> dict[str, str]:
    return {node["path"]: node["version"] for node in json.loads(lab.run("i", "--json").stdout)["nodes"]}


def test_idle_nodes_get_the_new_version_first_and_busy_ones_when_their_jobs_have_ended(lab: Lab, newer: str) -> None:
    started(lab, "-w", "h[1-3]", "--fanout=2")
    assert lab.run("e", "-d", "-localbin", "2", "/bin/sleep", "1000").returncode == 0
    upgrade = lab.begin("upgrade", python_path=newer)
    assert upgrade.stderr is not None
    waiting = next(line for line in upgrade.stderr if "waits" in line)
    assert waiting == "gproc: waits for the jobs on h2; Ctrl-C leaves these nodes\n"
    assert versions(lab) == {"1": "9.9.9", "1/1": "9.9.9", "2": gproc.__version__}
    refused = lab.run("e", "-localbin", "2", "/bin/true")
    assert (refused.returncode, "gproc upgrade to 9.9.9" in refused.stderr) == (125, True)
    assert lab.run("kill", "-s", "KILL", "last").returncode == 0
    out, err = upgrade.communicate()
    assert (upgrade.returncode, "3 up" in out) == (0, True), err
    assert versions(lab) == dict.fromkeys(("1", "1/1", "2"), "9.9.9")
    assert nodes(lab) == {"1": "h1", "1/1": "h3", "2": "h2"}
    assert lab.run("e", "./.", "/bin/true").returncode == 0, "they take jobs again"
    assert "3 nodes that gproc start has started run 9.9.9" in lab.run("upgrade", python_path=newer).stdout


def test_a_node_that_stays_busy_keeps_its_version_and_takes_jobs_again(lab: Lab, newer: str) -> None:
    started(lab, "-w", "h[1-2]")
    assert lab.run("e", "-d", "-localbin", "1", "/bin/sleep", "1000").returncode == 0
    assert lab.run("drain", "2").returncode == 0
    done = lab.run("upgrade", "--timeout=0.1", "--json", python_path=newer)
    told = {node["host"]: (node["state"], node["reason"]) for node in json.loads(done.stdout)["nodes"]}
    assert (done.returncode, told["h1"], told["h2"][0]) == (1, ("failed", "jobs still run there"), "up")
    assert versions(lab) == {"1": gproc.__version__, "2": "9.9.9"}
    states = {node["path"]: node["state"] for node in json.loads(lab.run("i", "--json").stdout)["nodes"]}
    assert states == {"1": "up", "2": "drained"}, "a node that was drained before stays so"
    assert lab.run("kill", "-s", "KILL", "last").returncode == 0


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name)
def test_an_upgrade_that_is_ended_leaves_no_node_drained(lab: Lab, newer: str, signum: signal.Signals) -> None:
    """A closed ssh session did: the node took no jobs any more, and no later upgrade gave it back."""
    started(lab, "-w", "h[1-2]")
    assert lab.run("e", "-d", "-localbin", "1", "/bin/sleep", "1000").returncode == 0
    upgrade = lab.begin("upgrade", python_path=newer)
    assert upgrade.stderr is not None
    assert next(line for line in upgrade.stderr if "waits" in line) == (
        "gproc: waits for the jobs on h1; Ctrl-C leaves these nodes\n"
    )
    upgrade.send_signal(signum)
    upgrade.communicate()
    if signum is signal.SIGKILL:
        done = lab.run("upgrade", "--timeout=0.1", python_path=newer)
        assert (done.returncode, "h1\t1\tfailed\tjobs still run there" in done.stderr + done.stdout) == (1, True)
    else:
        assert upgrade.returncode == 128 + signum
    states = {node["path"]: node["state"] for node in json.loads(lab.run("i", "--json").stdout)["nodes"]}
    assert states["1"] == "up"
    assert lab.run("kill", "-s", "KILL", "last").returncode == 0


def test_two_upgrades_at_once_do_not_give_back_the_nodes_of_each_other(lab: Lab, newer: str) -> None:
    """The second one took them for those of one that was killed: new jobs began on a node that the first waited for."""
    started(lab, "-w", "h[1-2]")
    assert lab.run("e", "-d", "-localbin", "1", "/bin/sleep", "1000").returncode == 0
    first = lab.begin("upgrade", python_path=newer)
    assert first.stderr is not None
    assert "waits for the jobs on h1" in next(line for line in first.stderr if "waits" in line)
    assert lab.run("upgrade", "--timeout=0.1", python_path=newer).returncode == 125
    second = lab.begin("upgrade", python_path=newer)
    assert second.stderr is not None
    assert "waits for gproc upgrade (process" in next(line for line in second.stderr if "waits" in line)
    second.send_signal(signal.SIGTERM)
    second.communicate()
    refused = lab.run("e", "-localbin", "1", "/bin/true")
    assert (refused.returncode, "gproc upgrade to 9.9.9" in refused.stderr) == (125, True)
    assert lab.run("kill", "-s", "KILL", "last").returncode == 0
    out, err = first.communicate()
    assert (first.returncode, "2 up" in out) == (0, True), err


def test_an_upgrade_is_told_what_a_start_is_told(lab: Lab, newer: str) -> None:
    started(lab, "-w", "h1", "--cmd-port=6700")
    known = lab.home / ".ssh" / "known_hosts"
    before = known.read_text()
    own = f"{lab.home}/.ssh"
    try:
        known.unlink()
        told = ["--cmd-port=6700", "--bin-root=/tmp/elsewhere", f"--address={HEAD}", "--parallel=1"]
        told += ["--connect-timeout=20", "--accept-new-host-keys", "-debug=1"]
        done = lab.run("upgrade", *told, python_path=newer)
        assert (done.returncode, "starts with 9.9.9: h1" in done.stderr) == (0, True), done.stderr
        assert lab.hosts["h1"] in known.read_text()
    finally:
        known.write_text(before)
    (node,) = json.loads(lab.run("i", "--json").stdout)["nodes"]
    assert (node["version"], node["address"]) == ("9.9.9", f"{lab.hosts['h1']}:6700")
    assert lab.run("e", "1", "/bin/sh", "-c", "echo $GPROC_ROOT").stdout == "/tmp/elsewhere\n"
    command = f"ssh -F {own}/config -i {own}/id_ed25519 -o UserKnownHostsFile={own}/known_hosts"
    done = lab.run("upgrade", f"--ssh-command={command}", f"--address={HEAD}", "--cmd-port=6700")
    assert done.returncode == 0, done.stderr
    assert versions(lab) == {"1": gproc.__version__}
