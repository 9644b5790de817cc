"""A Slurm cluster on this machine: slurmctld on a head node, and a slurmd on each host with its own network.

A host has this machine's root, but a hostname, an address, /tmp, /run and /var/cache of its own.  As on most clusters,
the end of a step ends all that it started, daemons too: by control groups, if they are of version 1 here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import gproc
from tests.patience import PATIENCE_S

NETWORK: Final = "10.84.9"
HEAD: Final = f"{NETWORK}.254"
TOOLS: Final = ("slurmctld", "slurmd", "srun", "salloc", "sbatch", "munged", "ip", "unshare", "nsenter")
FREEZER: Final = "/sys/fs/cgroup/freezer"

HOST: Final = """
set -e
for d in /tmp /run /var/cache; do mount -t tmpfs tmpfs $d; done
mount --bind "$1/hosts" /etc/hosts
hostname "$2"
ip link set lo up
[ "$2" != head ] || { ip link add switch type bridge; ip link set switch up; ip addr add "$3/24" dev switch; }
echo up
exec sleep infinity
"""

SLURM_CONF: Final = """\
ClusterName=lab
SlurmctldHost=head({head})
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge/socket
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool/%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
SlurmctldLogFile={place}/log/slurmctld
SlurmdLogFile={place}/log/slurmd-%n
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/{track}
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=3
{nodes}
PartitionName=lab Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """What this machine lacks; "" if it has everything."""
    if os.geteuid() != 0:
        return "needs root, for hosts with networks of their own"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if lacking := [tool for tool in TOOLS if shutil.which(tool, path=path) is None]:
        return f"needs {', '.join(lacking)} (Debian: slurmctld slurmd slurm-client munge iproute2)"
    if subprocess.run(["unshare", "--net", "--mount", "--uts", "true"], capture_output=True).returncode != 0:
        return "needs namespaces"
    return ""


class SlurmLab:
    """nodes: n1, n2, ..."""

    def __init__(self, count: int) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="slurm-lab-", dir="/var/tmp"))
        self.place.chmod(0o755)
        self.nodes = [f"n{number}" for number in range(1, count + 1)]
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._scripts = 0
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "HOME": str(self.place / "home"),
            "PYTHONPATH": str(Path(gproc.__file__).parents[1]), "SLURM_CONF": str(self.place / "slurm.conf"),
            "XDG_CACHE_HOME": str(self.place / "cache"),
        }  # fmt: skip
        try:
            self._up()
        except BaseException:
            self.close()
            raise

    def on(self, host: str, *words: str) -> list[str]:
        inside = ["nsenter", "-t", str(self._holders[host].pid), "--net", "--uts", "--mount", f"--wd={self.place}"]
        return [*inside, *words]

    def begin(self, script: str) -> subprocess.Popen[str]:
        """A line of shell as a person types it on the head node; `gproc` is the one of these tests."""
        return subprocess.Popen(
            self.on("head", "sh", "-c", f'gproc() {{ {sys.executable} -m gproc "$@"; }}\n{script}'), env=self.env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        process = self.begin(script)
        try:
            out, err = process.communicate(timeout=2 * PATIENCE_S)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(script, process.returncode, out, err)

    def in_allocation(self, count: int, script: str) -> str:
        """Words for the shell: run the script in an allocation of so many nodes, as a file."""
        self._scripts += 1
        path = self.place / f"script{self._scripts}"  # bash reads on in one that runs
        path.write_text(f'#!/bin/bash\ngproc() {{ {sys.executable} -m gproc "$@"; }}\n{script}\n')
        path.chmod(0o755)
        return f"salloc --quiet --exclusive --nodes={count} {path}"

    def ours(self) -> list[str]:
        """Command lines of gproc's processes in the lab, by the configuration of Slurm in their environment."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                environ, words = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.place).encode() in environ and re.search(rb"(^|/)srun\0|\0-m\0gproc\0", words):
                found.append(words.replace(b"\0", b" ").decode("utf-8", "replace"))
        return found

    def await_nothing(self) -> None:
        """Wait until nothing of gproc runs in the lab."""
        until_s = time.monotonic() + PATIENCE_S
        while ours := self.ours():
            assert time.monotonic() < until_s, ours
            time.sleep(0.1)

    def close(self) -> None:
        if "head" in self._holders:
            subprocess.run(self.on("head", "timeout", "10", "scancel", "-u", "root"), env=self.env, capture_output=True)
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self._daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for entry in Path("/proc").iterdir():  # steps have process 1 as their parent, and outlive slurmd
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(self.place).encode() in environ and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)
        for holder in self._holders.values():
            holder.kill()
            holder.wait()
        shutil.rmtree(self.place, ignore_errors=True)

    # How it is made

    def _up(self) -> None:
        for name in ("home", "munge", "state", "log", "spool"):
            (self.place / name).mkdir(mode=0o755)
        addresses = {"head": HEAD} | {name: f"{NETWORK}.{name[1:]}" for name in self.nodes}
        hosts = "".join(f"{address} {name}\n" for name, address in addresses.items())
        (self.place / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        self._configure()
        for name, address in addresses.items():
            self._boot(name, address)
        (self.place / "munge" / "key").write_bytes(os.urandom(128))
        (self.place / "munge" / "key").chmod(0o600)
        munge = self.place / "munge"
        self._daemon("head", "munged", "--foreground", f"--socket={munge}/socket", f"--key-file={munge}/key",
                     f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed")  # fmt: skip
        self._await(lambda: (munge / "socket").exists())
        self._daemon("head", "slurmctld", "-D", "-c", "-f", self.env["SLURM_CONF"])
        for name in self.nodes:
            self._daemon(name, "slurmd", "-D", "-N", name, "-f", self.env["SLURM_CONF"])
        self._await(lambda: self.run("sinfo -h -N -t idle").stdout.count("\n") == len(self.nodes))

    def _configure(self) -> None:
        track = "cgroup" if os.path.isdir(FREEZER) else "linuxproc"
        nodes = "\n".join(f"NodeName={name} Port=16818 CPUs=4 RealMemory=1000" for name in self.nodes)
        (self.place / "slurm.conf").write_text(
            SLURM_CONF.format(head=HEAD, place=self.place, track=track, nodes=nodes)
        )
        (self.place / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")

    def _boot(self, name: str, address: str) -> None:
        words = ["unshare", "--net", "--mount", "--uts", "--propagation", "private", "sh", "-c", HOST, "sh"]
        holder = subprocess.Popen([*words, self.place, name, address], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._holders[name] = holder
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        if name == "head":
            return
        ip = [*self._net("head"), "ip"]
        for words in (
            [*ip, "link", "add", f"p{name}", "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid)],
            [*ip, "link", "set", f"p{name}", "master", "switch", "up"],
            [*self._net(name), "ip", "addr", "add", f"{address}/24", "dev", "eth0"],
            [*self._net(name), "ip", "link", "set", "eth0", "up"],
        ):
            subprocess.run(words, check=True)

    def _net(self, name: str) -> Sequence[str]:
        return ["nsenter", "-t", str(self._holders[name].pid), "--net"]

    def _daemon(self, host: str, *words: str) -> None:
        with (self.place / "log" / f"{words[0]}-{host}.out").open("wb") as log:
            daemon = subprocess.Popen(
                self.on(host, *words), env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
            self._daemons.append(daemon)

    def _await(self, good: object) -> None:
        assert callable(good)
        until_s = time.monotonic() + PATIENCE_S
        while not good():
            logs = "".join(path.read_text()[-1000:] for path in (self.place / "log").iterdir())
            assert time.monotonic() < until_s, logs
            time.sleep(0.1)
