"""scripts/copytonodes.sh: nodes with sshd and busybox, and what is wrong with some of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.start.lab import COPY_TO_NODES, SFTP, Lab
from tests.start.test_failures import CACHE, NOEXEC
from tests.start.test_start import started

RUNTIME_BYTES_LEAST = 5_000_000


@pytest.fixture(scope="module")
def nodes(hosts: Lab) -> Lab:
    """Nodes kn01 to kn09: to the first two can be copied, to the second of them by scp."""
    hosts.add("kn01")
    hosts.add("kn02", more=SFTP)
    hosts.add("kn03", key="other")
    hosts.add("kn04", known=False)
    hosts.add("kn05", known=False)
    hosts.know("kn05", "other")
    hosts.add("kn06", more=NOEXEC)
    hosts.add("kn07", more=CACHE.format("size=1m"))
    hosts.add("kn08", more="before='setarch i686'")
    for name in ("kn01", "kn02", "kn06", "kn07", "kn08"):
        hosts.ssh(name, "true")
    return hosts


def copied(lab: Lab, first: int, last: int) -> subprocess.CompletedProcess[str]:
    return lab.copy_to_nodes(first, last, "kn%02d")


def came_to(lab: Lab, name: str) -> int:
    """Bytes that a host has received."""
    return int(lab.shell(name, "grep eth0: /proc/net/dev | tr : ' '").split()[1])


@pytest.fixture(scope="module")
def done(nodes: Lab) -> subprocess.CompletedProcess[str]:
    return copied(nodes, 1, 9)


def test_two_who_copied_one_runtime_took_it_from_each_other(tmp_path: Path) -> None:
    """Each has a command of its own, and says so in a file of its own."""
    if subprocess.run(["unshare", "--mount", "true"]).returncode != 0:
        pytest.skip("needs a namespace of mounts, for a directory of runtimes of its own")
    text = COPY_TO_NODES.read_text().partition("<<'INSTALL'\n")[2].partition("\nINSTALL\n")[0]
    own = tmp_path / "cache" / "gproc" / "runtimes"
    (own / "runtime-a").mkdir(0o700, parents=True)
    (own / "runtime-b").mkdir()
    own.chmod(0o700)
    for each in own.iterdir():
        (each / "ld.so").write_text("#!/bin/sh\necho gproc 1.0\n")
        (each / "ld.so").chmod(0o755)

    def kept(dest: str, runtime: str) -> dict[str, list[str]]:
        (identity := tmp_path / "came" / "identity").mkdir(parents=True)
        for name in ("ca.crt", "ticket.pub", "node.crt", "node.key"):
            (identity / name).touch()
        (tmp_path / "came" / "install").write_text(text)
        line = f'mount --bind "{tmp_path}/cache" /var/cache && sh "{tmp_path}/came/install" {dest} {runtime}'
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        subprocess.run(["unshare", "--mount", "sh", "-c", line], env=environ, check=True, timeout=PATIENCE_S)
        return {each.stem: sorted(Path(file.read_text()).name.strip() for file in each.iterdir())
                for each in own.glob("*.kept")}  # fmt: skip

    kept("one", "runtime-a")
    assert kept("two", "runtime-a") == {"runtime-a": ["one", "two"]}
    assert kept("two", "runtime-b") == {"runtime-a": ["one"], "runtime-b": ["two"]}
    shutil.rmtree(tmp_path / "two")
    assert kept("one", "runtime-a") == {"runtime-a": ["one"]}, "a command that is gone needs nothing"


@pytest.mark.parametrize("name", ["kn01", "kn02"])
def test_a_node_without_python_runs_gproc_and_has_its_own_key(
    nodes: Lab, done: subprocess.CompletedProcess[str], name: str
) -> None:
    assert nodes.shell(name, "/root/.local/share/gproc/gproc --version").startswith("gproc "), done.stderr
    listed = nodes.shell(name, "cd /root/.config/gproc; ls -ln | awk 'NR > 1 {print $1, $9}'; ls -a /root")
    assert listed.split()[:8] == [
        "-rw-------", "ca.crt", "-rw-------", "node.crt", "-rw-------", "node.key", "-rw-------", "ticket.pub",
    ]  # fmt: skip
    assert ".gproc-" not in listed
    kept = nodes.shell(name, "cat $(find /var /tmp /dev/shm /run -path '*/runtime-*.kept/*')")
    assert kept == "/root/.local/share/gproc\n", "a later start does not remove what the command needs"


def test_what_is_wrong_with_a_node_is_said_in_sshs_own_words(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1
    *lines, last = done.stderr.splitlines()
    reasons = dict(line.removeprefix("copytonodes: ").split(": ", 1) for line in lines)
    assert set(reasons) == {f"kn0{number}" for number in range(3, 10)}
    assert "Permission denied" in reasons["kn03"]
    assert reasons["kn04"] == "Host key verification failed."
    assert reasons["kn05"] == "its host key is another one than known_hosts has: Host key verification failed."
    assert "no directory in which programs may be executed" in reasons["kn06"]
    assert "No space left on device" in reasons["kn07"]
    assert "it is an i686 machine, and this runtime is for" in reasons["kn08"]
    assert "kn09: " in reasons["kn09"] or "resolve" in reasons["kn09"]
    assert last == "copytonodes: 7 of 9 nodes failed"


def test_the_next_command_names_the_nodes_that_can_run_it(done: subprocess.CompletedProcess[str]) -> None:
    first, second, _ = done.stdout.splitlines()
    assert first == "2 of 9 nodes have gproc; 0 had its runtime already. Next:"
    assert second.startswith("    gproc start -w 'kn[01-02]' --ssh-command='ssh -F ")


def test_a_second_time_no_byte_of_the_runtime_is_sent(nodes: Lab, done: subprocess.CompletedProcess[str]) -> None:
    before = came_to(nodes, "kn02")
    assert before > RUNTIME_BYTES_LEAST
    again = copied(nodes, 1, 2)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("2 of 2 nodes have gproc; 2 had its runtime already. Next:\n")
    assert came_to(nodes, "kn02") - before < 100_000


def test_gproc_start_finds_there_what_was_copied(
    nodes: Lab, done: subprocess.CompletedProcess[str], lab: Lab
) -> None:
    found = started(lab, "-w", "kn[01-02]")
    assert [found[host]["state"] for host in ("kn01", "kn02")] == ["up", "up"]
    assert found["kn01"]["sent_bytes"] < 10_000


def test_gproc_remove_leaves_what_the_copied_command_needs(
    nodes: Lab, done: subprocess.CompletedProcess[str], lab: Lab
) -> None:
    """The command stayed behind, and nothing that it could run."""
    started(lab, "-w", "kn01")
    removed = json.loads(lab.run("remove", "--json", "kn01").stdout)["nodes"][0]
    assert removed["state"] == "removed"
    assert "files were left: the command of copytonodes needs /" in removed["reason"]
    assert nodes.shell("kn01", "/root/.local/share/gproc/gproc --version").startswith("gproc ")
    left = nodes.shell("kn01", "ls /var/cache/gproc/runtimes | sed 's/runtime-[0-9a-f]*/runtime/'; ls /var/cache/gproc")
    assert left.split() == ["runtime", "runtime.kept", "runtimes"]
    nodes.shell("kn01", "rm -r /root/.local/share/gproc")
    started(lab, "-w", "kn01")
    again = json.loads(lab.run("remove", "--json", "kn01").stdout)["nodes"][0]
    assert (again["state"], again["reason"]) == ("removed", "")
    assert nodes.shell("kn01", "ls -d /var/cache/gproc 2>&1 || :").endswith("No such file or directory\n")


def test_a_command_of_somebody_else_is_left_alone(nodes: Lab, done: subprocess.CompletedProcess[str]) -> None:
    nodes.shell("kn02", "echo precious >/root/.local/share/gproc/gproc")
    again = copied(nodes, 2, 2)
    assert (again.returncode, again.stdout) == (1, "")
    assert "kn02: .local/share/gproc/gproc exists already and is not gproc's" in again.stderr
    assert nodes.shell("kn02", "cat /root/.local/share/gproc/gproc; rm /root/.local/share/gproc/gproc") == "precious\n"
