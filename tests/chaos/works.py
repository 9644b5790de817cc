"""What runs on the tree while faults happen, and what must hold of each of these at its end.

A work is one command at the front, in a thread that feeds it, takes what it says, and judges it.  `Work.faults` has the
faults that happen meanwhile.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from gproc.nodespec import NodeSpec, file_name_of
from tests.chaos.cluster import LEASE_S, MEBIBYTE, ChaosCluster, is_below
from tests.chaos.faults import Fault
from tests.chaos.machines import FRONT, state_of
from tests.patience import PATIENCE_S

PIECES: Final = 12
PIECE_BYTES: Final = MEBIBYTE // 2
PACE_S: Final = 0.2
"""A job writes a piece, and waits for so long: it runs through a whole blow."""

INPUT: Final = b"".join(b"line %d of the input\n" % number for number in range(48 * 1024))
FEEDS: Final = 16

SUMMARY: Final = re.compile(r"^gproc: (\S+): (.*)$", re.MULTILINE)
NOBODY: Final = re.compile(r"^gproc: not connected: (\S+)$", re.MULTILINE)
"""What is said if no node of a command is connected."""
NO_ROOM: Final = re.compile("[Nn]o space left|no room for a bundle")
NOT_CONNECTED: Final = "not connected"
FOR_NOW: Final = ("cannot be reached: ", "reached again")
AT_ONCE_S: Final = 2.0
"""This machine is busy: what has been killed may take a moment to go."""
PATIENT_S: Final = 2 * PATIENCE_S + LEASE_S


class Broken(AssertionError):
    """A promise was broken."""


class Work(ABC):
    """One command, on these nodes.  `end` waits for it, and raises `Broken` if it broke a promise."""

    name: str

    def __init__(self, cluster: ChaosCluster, serial: int, nodes: Sequence[str], source: random.Random) -> None:
        self.cluster = cluster
        self.serial = serial
        self.nodes = tuple(nodes)
        self.faults: list[Fault] = []
        self.random = source
        self.place = cluster.place / f"work{serial}"
        self.place.mkdir()
        self.spec = ",".join(f"={node}" for node in nodes)
        self.began_s = time.time()
        self.process = self.begin()
        self._thread = ThreadPoolExecutor(1)
        self._ending = self._thread.submit(self._run)

    @abstractmethod
    def begin(self) -> subprocess.Popen[bytes]:
        """Start the command."""

    @abstractmethod
    def judge(self, out: bytes, errors: str) -> None:
        """Raises: Broken."""

    def feed(self) -> None:  # noqa: B027 - most works have none
        """Write to its standard input, if it has one."""

    @property
    def is_over(self) -> bool:
        return self._ending.done()

    def end(self) -> None:
        """Wait for it.  Raises: Broken."""
        try:
            self._ending.result()
        finally:
            self._thread.shutdown()
            shutil.rmtree(self.place, ignore_errors=True)

    def _run(self) -> None:
        feeding = threading.Thread(target=self.feed, daemon=True)
        feeding.start()
        out, errors = self._finish()
        feeding.join()
        try:
            self.judge(out, errors)
        except Broken as error:
            raise Broken(f"{error}\n{self}\n{errors[-2000:]}") from None

    def _finish(self) -> tuple[bytes, str]:
        """Its output and its errors.  `communicate` would close the standard input, which is fed meanwhile."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with ThreadPoolExecutor(2) as threads:
            out, errors = threads.submit(self.process.stdout.read), threads.submit(self.process.stderr.read)
            try:
                self.process.wait(PATIENT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise Broken(f"{self} does not end") from None
            return out.result(), errors.result().decode()

    def __str__(self) -> str:
        return f"{self.name} {self.serial} on {','.join(self.nodes)} during {'; '.join(map(str, self.faults))}"

    # What faults excuse

    def doomed(self) -> set[str]:
        """The nodes on which it may be lost."""
        return {fault.victim for fault in self.faults if fault.may_lose}

    def hindered(self) -> set[str]:
        """The nodes that may not take files: those without room.  Those below get files by way of these."""
        return self.doomed() | {fault.victim for fault in self.faults if fault.kind == "disk full"}

    def demand(self, holds: bool, said: str) -> None:
        if not holds:
            raise Broken(said)

    def demand_reason(self, node: str, how: str, hit: set[str]) -> None:
        """A node failed because of a fault.  It is not connected if there was no way to it when the command began."""
        if how == NOT_CONNECTED:
            away = [fault.victim for fault in self.faults]
            hit = {path for path in self.nodes if any(is_below(path, above) for above in away)}
        self.demand(node in hit, f"{node} failed without a reason: {how}")

    def endings(self, errors: str) -> dict[str, str]:
        """How each node that the summary names ended, or none of them could begin."""
        found = self.unconnected(errors)
        for spec, ending in SUMMARY.findall(errors):
            if ending.startswith((*FOR_NOW, "/")) or not re.match(r"[=\d]", spec):
                continue  # it is not an end; "/": it is a file that could not be copied
            for node in self.named(spec):
                self.demand(node not in found, f"{node} ends twice")
                found[node] = ending
        return found

    def unconnected(self, errors: str) -> dict[str, str]:
        """The nodes of a command, none of which was connected; {} if some were."""
        return {node: NOT_CONNECTED for spec in NOBODY.findall(errors) for node in self.named(spec)}

    def named(self, spec: str) -> list[str]:
        """The nodes that a folded set of nodes names."""
        known = {tuple(map(int, path.split("/"))): path for path in self.cluster.paths}
        return [known[path] for path in NodeSpec.parse(spec).select(known)] if spec else []


class Job(Work):
    """A job whose programs note that they begin, and return `STATUS`."""

    STATUS: Final = 3

    def job(self, *words: str, line: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a shell on each node that notes that it begins, does this, and returns `STATUS`."""
        script = f'echo "{self.serial} $GPROC_NODE" >>{self.cluster.place}/runs; {line}; exit {self.STATUS}'
        words = (*words, self.spec, "/bin/sh", "-c", script)
        return self.cluster.begin("e", *words, env={"CHAOS": str(self.serial)}, **options)

    def judge_ends(self, endings: dict[str, str]) -> set[str]:
        """Each node ended once, for a good reason, and ran once.  Returns those that returned."""
        returned = set()
        for node in self.nodes:
            how = endings.get(node, "")
            self.demand(how != "", f"{node} has no end")
            if how == f"exit status {self.STATUS}":
                returned.add(node)
            else:
                self.demand_reason(node, how, self.doomed())
        self.demand(endings.keys() <= set(self.nodes), f"others ended too: {endings}")
        self.judge_rest()
        ran = (self.cluster.place / "runs").read_text().splitlines()
        for node in self.nodes:
            times = ran.count(f"{self.serial} {node}")
            self.demand(times == 1 or (not times and node not in returned), f"{node} ran {times} times")
        return returned

    def judge_rest(self) -> None:
        """What is called ended has ended."""
        marker = f"CHAOS={self.serial}\0".encode()
        until_s = time.monotonic() + AT_ONCE_S
        while left := list(_with_variable(marker)):
            self.demand(time.monotonic() < until_s, f"still runs after its end: {left}")
            time.sleep(0.05)


class Writing(Job):
    """Each node writes `PIECES` pieces, and says before each who it is."""

    name = "output"

    def begin(self) -> subprocess.Popen[bytes]:
        pieces = self.cluster.place / "pieces"
        script = f'for i in $(seq {PIECES}); do echo "$GPROC_NODE $i"; cat {pieces}/$i; sleep {PACE_S}; done'
        return self.job("-n", "-localbin", f"--outdir={self.place}", line=script)

    def judge(self, out: bytes, errors: str) -> None:
        returned = self.judge_ends(self.endings(errors))
        for node in self.nodes:
            name = file_name_of(tuple(map(int, node.split("/"))))
            file = self.place / f"{name}.out"
            _compare(self, node, file.read_bytes() if file.exists() else b"", written_by(self.cluster, node),
                     whole=node in returned)  # fmt: skip


class Feeding(Job):
    """Each node says what it reads."""

    name = "input"

    def begin(self) -> subprocess.Popen[bytes]:
        return self.job("-localbin", "--json", line="cat", stdin=subprocess.PIPE)

    def feed(self) -> None:
        assert self.process.stdin is not None
        step = len(INPUT) // FEEDS + 1
        with contextlib.suppress(BrokenPipeError), self.process.stdin as stdin:
            for begin in range(0, len(INPUT), step):
                stdin.write(INPUT[begin : begin + step])
                stdin.flush()
                time.sleep(PACE_S)

    def judge(self, out: bytes, errors: str) -> None:
        said = dict.fromkeys(self.nodes, b"")
        endings = self.unconnected(errors)
        for line in out.splitlines():
            event = json.loads(line)
            match event["event"]:
                case "started":
                    endings |= dict.fromkeys(self.named(event["missing"]), NOT_CONNECTED)
                case "output":
                    data = event["data"].encode() if "data" in event else base64.b64decode(event["base64"])
                    self.demand(event["node"] not in endings, f"{event['node']} speaks after its end")
                    if event["stream"] == "stdout":
                        said[event["node"]] += data
                case "ended":
                    self.demand(event["node"] not in endings, f"{event['node']} ends twice")
                    how = event["how"]
                    endings[event["node"]] = f"exit status {event['code']}" if how == "exited" else f"{how}: {event}"
        returned = self.judge_ends(endings)
        for node in self.nodes:
            _compare(self, node, said[node], INPUT, whole=node in returned)


class Sending(Job):
    """A file goes along, and each node says its digest."""

    name = "-f"
    BYTES: Final = 4 * MEBIBYTE

    def begin(self) -> subprocess.Popen[bytes]:
        data = self.random.randbytes(self.BYTES)
        self.digest = hashlib.sha256(data).hexdigest()
        self.payload = self.cluster.machines[FRONT].disk / f"payload{self.serial}"
        self.payload.write_bytes(data)  # at a place that the nodes do not share
        name = f"/mnt/{self.payload.name}"
        return self.job("-n", f"--files={name}", line=f'echo "$(sha256sum <{name}) $GPROC_NODE"')

    def judge_ends(self, endings: dict[str, str]) -> set[str]:
        """A node whose disk is full takes no bundle, and so it runs nothing."""
        full = {node for node in self.hindered() if NO_ROOM.search(endings.get(node, ""))}
        self.nodes = tuple(node for node in self.nodes if node not in full)
        return super().judge_ends({node: how for node, how in endings.items() if node not in full})

    def judge(self, out: bytes, errors: str) -> None:
        self.payload.unlink()
        returned = self.judge_ends(self.endings(errors))
        said = sorted(out.decode().splitlines())
        for node in returned:
            line = f"{self.digest}  - {node}"
            self.demand(said.count(line) == 1, f"{node} has another file, or said so {said.count(line)} times: {said}")


class Copying(Work):
    """`gproc cp` of a small tree.  Each node has it as it is here, or is named."""

    name = "cp"
    FILES: Final = 12

    def begin(self) -> subprocess.Popen[bytes]:
        self.files = {f"small{number}": self.random.randbytes(20_000) for number in range(self.FILES)}
        self.files["below/large"] = self.random.randbytes(6 * MEBIBYTE)
        source = self.place / "tree"
        (source / "below").mkdir(parents=True)
        for name, data in self.files.items():
            (source / name).write_bytes(data)
        self.dest = f"copy{self.serial}"
        return self.cluster.begin("cp", str(source), f"{self.spec}:/mnt/{self.dest}")

    def judge(self, out: bytes, errors: str) -> None:
        failed = self.endings(errors)
        self.demand(bool(failed) == (self.process.returncode != 0), f"status {self.process.returncode}")
        for node, how in failed.items():
            self.demand_reason(node, how, self.hindered())
        for node in set(self.nodes) - self.rebooted():
            there = self.cluster.machines[node].disk / self.dest
            for name, data in self.files.items():
                with contextlib.suppress(FileNotFoundError):
                    self.demand((there / name).read_bytes() == data, f"{name} at {node} is another")
                    continue
                # Asked once more: it may have been rebooted, with its disk empty after it, since this began to look.
                self.demand(node in failed or node in self.rebooted(), f"{node} has no {name}")
        for node in self.nodes:
            self.cluster.sweep(node, self.dest)

    def rebooted(self) -> set[str]:
        return {fault.victim for fault in self.faults if fault.kind == "rebooted"}


class Getting(Work):
    """`gproc get` of a file of each node.  It arrives as it is there, or its node is named."""

    name = "get"
    BYTES: Final = 3 * MEBIBYTE

    def begin(self) -> subprocess.Popen[bytes]:
        self.data = {node: self.random.randbytes(self.BYTES) for node in self.nodes}
        for node, data in self.data.items():
            (self.cluster.machines[node].disk / f"get{self.serial}").write_bytes(data)
        return self.cluster.begin("get", f"{self.spec}:/mnt/get{self.serial}", str(self.place / "got"))

    def judge(self, out: bytes, errors: str) -> None:
        failed = self.endings(errors)
        for node, how in failed.items():
            self.demand_reason(node, how, self.doomed())
        for node, data in self.data.items():
            file = self.place / "got" / file_name_of(tuple(map(int, node.split("/")))) / f"get{self.serial}"
            if file.exists():
                self.demand(file.read_bytes() == data, f"the file of {node} is another")
            else:
                self.demand(node in failed, f"nothing came of {node}, and nothing was said")
            with contextlib.suppress(FileNotFoundError):
                (self.cluster.machines[node].disk / f"get{self.serial}").unlink()


KINDS_OF_WORK: Final[tuple[type[Work], ...]] = (Writing, Feeding, Sending, Copying, Getting)


def prepare(cluster: ChaosCluster) -> None:
    """Make the pieces that jobs write, each of another letter: what is lost, repeated or out of order shows."""
    (cluster.place / "pieces").mkdir()
    for number in range(1, PIECES + 1):
        (cluster.place / "pieces" / str(number)).write_bytes(_piece(number))
    (cluster.place / "runs").touch()


def written_by(cluster: ChaosCluster, node: str) -> bytes:
    return b"".join(f"{node} {number}\n".encode() + _piece(number) for number in range(1, PIECES + 1))


def _piece(number: int) -> bytes:
    return (bytes([64 + number]) * 127 + b"\n") * (PIECE_BYTES // 128)


def _compare(work: Work, node: str, found: bytes, wanted: bytes, *, whole: bool) -> None:
    """whole: all of it must be there; else it is the beginning."""
    if found == wanted or (not whole and wanted.startswith(found)):
        return
    pairs = zip(found, wanted, strict=False)
    at = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(found), len(wanted)))
    raise Broken(f"{node}: {len(found)} bytes of {len(wanted)}, wrong from byte {at}: {found[at : at + 60]!r}")


def _with_variable(marker: bytes) -> Iterable[int]:
    """The processes with this in their environment, but for those of a frozen machine, which can end nothing."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if marker in Path(f"/proc/{pid}/environ").read_bytes() and state_of(int(pid)) != "T":
                yield int(pid)
