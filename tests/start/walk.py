"""The walk of the original's README on the cluster KANE, command for command: `gproc start` stands for startkane.

The hosts are kn1, kn2, ..., bare, at the addresses that the locale gives them; the front end is 10.1.254.254.
test_walk.py takes the walk with 22 hosts and bench/walk.py with 80.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from gproc.locales import load
from tests.patience import PATIENCE_S
from tests.start.lab import SFTP, Lab

HEAD: Final = "10.1.254.254/16"


class Step(msgspec.Struct, frozen=True):
    """what: as a person types it, without the path of gproc."""

    locale: str
    what: str
    seconds: float


@contextmanager
def kane_lab(place: Path, numbers: Sequence[int]) -> Iterator[Lab]:
    lab = Lab(place, HEAD)
    try:
        for number in numbers:
            node = load("kane").node(number)
            lab.add(node.name, address=node.address, more=SFTP)
        lab.await_sshd()
        yield lab
    finally:
        lab.close()


class Walk:
    """steps: those that were taken, in order.  Each checks what it should have done: AssertionError."""

    def __init__(self, lab: Lab, numbers: Sequence[int], tell: Callable[[Step], None] = lambda step: None) -> None:
        self._lab = lab
        self._numbers = numbers
        self._range = ("-l", str(numbers[0]), "-h", str(numbers[-1]))
        self._tell = tell
        self._locale = ""

    def prepare(self) -> None:
        """Pack the runtime once on the front end.  Otherwise the first command that needs it would pack it."""
        with self._step("gproc runtime"):
            words = [*self._lab.in_head(), sys.executable, "-m", "gproc", "runtime"]
            subprocess.run(words, env=self._lab.environ(), capture_output=True, check=True)

    def kane(self) -> None:
        racks = [number for number in self._numbers if number % 20 == 0]
        self._locale = "kane"
        self._copy()
        with self._master("kane"):
            self._start(racks, "1")
            self._start([number for number in self._numbers if number not in racks], "2")
            self._date("./.")
            self._look()

    def kf(self) -> None:
        self._locale = "kf"
        self._copy()
        with self._master("kf"):
            self._start(self._numbers)
            self._date(".")
            self._look()

    def _copy(self) -> None:
        first, last = self._numbers[0], self._numbers[-1]
        with self._step(f"sh copytonodes.sh {first} {last}"):
            done = self._lab.copy_to_nodes(first, last, "kn%d")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr

    @contextmanager
    def _master(self, locale: str) -> Iterator[None]:
        """In a shell of its own.  Ctrl-C ends it, and all slaves."""
        master = self._lab.begin(f"-locale={locale}", "-debug=3", "m", stderr=subprocess.DEVNULL)
        try:
            with self._step(f"gproc -locale={locale} -debug=3 m"):
                self._await(lambda: self._lab.run("i").returncode == 0)
            yield
            with self._step("Ctrl-C, until the last slave has ended"):
                master.send_signal(signal.SIGINT)
                for name in self._lab.hosts:
                    self._lab.await_no_slave(name)
                master.communicate(timeout=PATIENCE_S)
            assert not self._lab.socket.exists()
        finally:
            master.kill()
            master.communicate()

    def _start(self, numbers: Sequence[int], *level: str) -> None:
        words = ("start", f"-locale={self._locale}", *self._range, *level)
        with self._step(f"gproc {' '.join(words)}"):
            done = self._lab.run(words[0], "--json", *words[1:])
        found = {node["host"]: (node["state"], node["reason"]) for node in json.loads(done.stdout)["nodes"]}
        assert found == {f"kn{number}": ("up", "") for number in numbers}

    def _date(self, nodes: str) -> None:
        with self._step(f"gproc e {nodes} /bin/date"):
            done = self._right("e", nodes, "/bin/date")
        assert len(done.splitlines()) == len(self._numbers), done

    def _look(self) -> None:
        with self._step("gproc i"):
            self._right("i")
        hosts = [node["host"] for node in json.loads(self._right("i", "--json"))["nodes"]]
        assert sorted(hosts) == sorted(self._lab.hosts)

    def _right(self, *words: str) -> str:
        done = self._lab.run(*words)
        assert (done.returncode, done.stderr) == (0, ""), (words, done.stderr)
        return done.stdout

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        began_s = time.perf_counter()
        yield
        self._tell(Step(self._locale, what, time.perf_counter() - began_s))

    def _await(self, holds: Callable[[], bool]) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < until_s
