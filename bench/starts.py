"""`gproc start` on bare hosts and on hosts that have a runtime, beside pdsh, clush and taktuk, in turn.

    python bench/starts.py [--hosts 20,40,80] [--rounds 3] [--mbit 200] [--fanout 32]

Hosts are network, UTS and mount namespaces with a link of that rate, an sshd and a /var/cache of their own (lab.py),
root only.  In each round each program logs in to all hosts: pdsh, clush and `taktuk -s` run `true` there, and
`gproc start` ends when all slaves have joined.  Cold: no host has anything of gproc.  All share the processors of this
machine, so CPU seconds are shown too: of the front end (command and master), and of the whole machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Final

import msgspec

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench.figures import machine_of_now, markdown, number
from bench.lab import HEAD, Lab, LabFailed
from bench.ssh import Shells, missing
from gproc.trust.caller import listener_of

TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")

ENDING_S: Final = 60.0

QUIET_LOGIN: Final = "for each in .bashrc .profile; do mount --bind /dev/null ~root/$each; done 2>/dev/null"
"""A simulated host does not run what root's shell runs on this machine at each login."""

YARDSTICKS: Final = ("pdsh", "clush", "taktuk")


class Sample(msgspec.Struct, frozen=True):
    """One run.  cpu_s: of the command, and of the master if it made one.  machine_s: processor time of all."""

    seconds: float
    cpu_s: float
    machine_s: float
    sent_mb: float
    hosts: int


class Head:
    """The front end of a lab, with a home of its own."""

    def __init__(self, lab: Lab, names: list[str], shells: Shells, home: str, fanout: int) -> None:
        self._lab = lab
        self._names = names
        self._hosts = [lab.host(name) for name in names]
        self._config = f"{shells.place}/ssh_config"
        self._home = home
        self._socket = f"{home}/g"
        self._fanout = fanout
        os.makedirs(f"{home}/.ssh", 0o700)
        with open(f"{home}/.ssh/config", "w") as file:
            file.write(f"IdentityFile {shells.place}/user\nIdentitiesOnly yes\n")
        with open(f"{shells.place}/host.pub") as key, open(f"{home}/.ssh/known_hosts", "w") as known:
            value = " ".join(key.read().split()[:2])
            known.writelines(f"{lab.host(name)},{lab.address(name)} {value}\n" for name in names)
        for name in names:
            self._on(name, f"mount -t tmpfs tmpfs /var/cache; {QUIET_LOGIN}")

    def measures(self) -> dict[str, Callable[[], Sample]]:
        """In the order in which each round takes them."""
        measures = {}
        if shutil.which("pdsh"):
            measures["pdsh true"] = lambda: self._run("pdsh", "-R", "ssh", "-w", ",".join(self._hosts), "true")
        if shutil.which("clush"):
            options = ("-q", "-o", f"-F {self._config}", "-w", ",".join(self._hosts))
            measures["clush true"] = lambda: self._run("clush", *options, "true")
        if shutil.which("taktuk"):
            measures["taktuk -s true"] = self._taktuk
        return measures | {"cold": self._cold, "warm": self._warm, "again": self._again}

    def prepare(self) -> None:
        """Keys and the packed runtime are made once for a cluster."""
        self._gproc("runtime")
        self._cold()
        self.stop()

    def stop(self) -> None:
        self._gproc("stop", f"--socket={self._socket}")
        networks = {os.readlink(f"/proc/{self._lab.holder(name)}/ns/net") for name in self._names}
        until_s = time.monotonic() + ENDING_S
        while any(network in networks for network in _slaves()):
            if time.monotonic() > until_s:
                raise LabFailed("a slave does not end")
            time.sleep(0.1)

    def _cold(self) -> Sample:
        self.stop()
        for name in self._names:
            self._on(name, "rm -rf /var/cache/gproc")
        return self._start()

    def _warm(self) -> Sample:
        self.stop()
        return self._start()

    def _again(self) -> Sample:
        return self._start()

    def _start(self) -> Sample:
        words = ["start", "-w", ",".join(self._hosts), "--json", f"--fanout={self._fanout}"]
        words += [f"--socket={self._socket}", "--bin-root=/mnt/xproc", "--connect-timeout=60"]
        before_s = self._master_s()
        sample = self._run(sys.executable, "-m", "gproc", *words, check=self._all_up)
        return msgspec.structs.replace(sample, cpu_s=sample.cpu_s + self._master_s() - before_s)

    def _all_up(self, output: bytes) -> int:
        nodes = msgspec.json.decode(output)["nodes"]
        if failed := [node for node in nodes if node["state"] != "up"]:
            raise LabFailed(f"gproc start: {len(failed)} failed, the first: {failed[0]}")
        return len(nodes)

    def _taktuk(self) -> Sample:
        options = [word for host in self._hosts for word in ("-m", host)]
        command = ["taktuk", "-s", "-c", f"ssh -F {self._config}", *options]
        return self._run(*command, "broadcast", "exec", "[", "true", "]", check=_done)

    def _master_s(self) -> float:
        """Processor time of the master so far."""
        with socket.socket(socket.AF_UNIX) as connection:
            if connection.connect_ex(self._socket):
                return 0.0
            with open(f"/proc/{listener_of(connection)[0]}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def _gproc(self, *words: str) -> None:
        command = [*self._lab.entry(HEAD), sys.executable, "-m", "gproc", *words]
        subprocess.run(command, env=self._environ(), stdin=subprocess.DEVNULL, capture_output=True, cwd="/")

    def _run(self, *command: str, check: Callable[[bytes], int] | None = None) -> Sample:
        sent, machine_s, own_s = self._sent(), _machine_s(), _children_s()
        began_s = time.perf_counter()
        done = subprocess.run(
            [*self._lab.entry(HEAD), *command],
            env=self._environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
        )
        took_s = time.perf_counter() - began_s
        cpu_s, all_s, sent_bytes = _children_s() - own_s, _machine_s() - machine_s, self._sent() - sent
        if done.returncode and check is not None:
            check(done.stdout)  # which names what failed
        if done.returncode:
            raise LabFailed(f"{' '.join(command)[:60]}: {(done.stderr or done.stdout).decode()[-300:]}")
        hosts = check(done.stdout) if check else len(self._hosts)
        return Sample(took_s, cpu_s, all_s, sent_bytes / 1e6, hosts)

    def _sent(self) -> int:
        return self._lab.traffic()[HEAD].sent

    def _on(self, name: str, line: str) -> None:
        subprocess.run([*self._lab.entry(name), "sh", "-c", line], check=False)

    def _environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"], "HOME": self._home, "GPROC_HOME": f"{self._home}/gproc", "LANG": "C.UTF-8",
            "XDG_CACHE_HOME": f"{self._home}/cache", "PYTHONPATH": os.path.dirname(os.path.dirname(__file__)),
            "PDSH_SSH_ARGS_APPEND": f"-F {self._config}",
        }  # fmt: skip


def _done(output: bytes) -> int:
    """Hosts of which taktuk tells that the command ended well."""
    return output.count(b"Exited with status 0")


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _slaves() -> Iterator[str]:
    """The networks of all slaves that gproc start started on this machine, in this lab or elsewhere."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"\0__started\0" in file.read():
                yield os.readlink(f"/proc/{pid}/ns/net")


def _machine_s() -> float:
    """The processor time that all processes have used since the machine booted: proc_stat(5)."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * TICK_S


def rows(count: int, mbit: int, rounds: int, fanout: int) -> list[tuple[str, ...]]:
    names = [str(number) for number in range(1, count + 1)]
    found: dict[str, list[Sample]] = {}
    with Lab(names, mbit) as lab, Shells(lab, names) as shells, tempfile.TemporaryDirectory() as home:
        head = Head(lab, names, shells, home, fanout)
        try:
            head.prepare()
            for _ in range(rounds):
                for what, measure in head.measures().items():
                    found.setdefault(what, []).append(measure())
                    print(f"{count} hosts: {what}: {found[what][-1]}", file=sys.stderr, flush=True)
        finally:
            head.stop()
    return [(str(count), what, *_cells(count, taken)) for what, taken in found.items()]


def _cells(count: int, taken: list[Sample]) -> list[str]:
    seconds = [sample.seconds for sample in taken]
    short = min(sample.hosts for sample in taken)
    spread = f" ({number(min(seconds))}-{number(max(seconds))})" if len(taken) > 1 else ""
    return [
        f"{number(median(seconds))}{spread}" + ("" if short == count else f"; {short} hosts only"),
        number(median(sample.sent_mb for sample in taken)),
        number(median(sample.cpu_s for sample in taken)),
        number(median(sample.machine_s for sample in taken)),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", default="20,40,80")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mbit", type=int, default=200)
    parser.add_argument("--fanout", type=int, default=32)
    options = parser.parse_args()
    if reason := missing():
        parser.error(reason)
    lacking = [program for program in YARDSTICKS if shutil.which(program) is None]
    if lacking:
        print(
            f"not installed, and left out: {', '.join(lacking)} (Debian: pdsh, clustershell, taktuk)", file=sys.stderr
        )
    shown = machine_of_now().shown
    table: list[tuple[str, ...]] = []
    try:
        for count in options.hosts.split(","):
            table += rows(int(count), options.mbit, options.rounds, options.fanout)
    except LabFailed as error:
        print(f"bench/starts.py: {error}", file=sys.stderr)
        return 1
    head = ("hosts", "what", "s", "MB out of the front end", "CPU s of the front end", "CPU s of all")
    print(markdown(shown, head, table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
