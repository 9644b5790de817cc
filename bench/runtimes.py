"""The start of a slave from a runtime, as `gproc start` starts it: several runtimes in turns.

    gproc runtime --tar before.tgz        # in one checkout
    gproc runtime --tar after.tgz         # in another
    python bench/runtimes.py before.tgz after.tgz [--rounds 20]

Each slave is started from its unpacked runtime, joins a master on this machine, and is ended.  Measured are its time
and its processor time until it has joined, and its memory a moment later.  Nobody else runs from that runtime, so its
proportional memory is about the resident one.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import os
import select
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from statistics import median
from typing import Final

import msgspec

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import processes
from bench.figures import MB, machine_of_now, markdown, number
from bench.tree import LOOPBACK, Tree, TreeFailed, master_port
from gproc.interpreter import LIBRARIES, LOADER, PYTHON
from gproc.locales import Parent
from gproc.start.commission import STARTED_WORD, Commission
from gproc.trust.authority import open_authority
from gproc.trust.carried import credentials_for

JOIN_S: Final = 30.0

IDLE_S: Final = 0.2

FIRST_ID: Final = 100

ABOVE: Final = 10
"""Descriptors that are given to a slave lie here first: it has them from 3 on, native/tending.h."""


class Start(msgspec.Struct, frozen=True):
    wall_ms: float
    cpu_ms: float
    memory: processes.Memory


class Field:
    """A master, and keys for slaves below it."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._parent = Parent(LOOPBACK, int(master_port(tree)), is_master=True)
        self._authority = open_authority(tree.environ["GPROC_HOME"], create=True)
        self._ids = itertools.count(FIRST_ID)

    def start(self, root: str) -> Start:
        """Raises: TreeFailed."""
        id = next(self._ids)
        credentials = credentials_for(self._authority, f"n{id}", [])
        told = Commission(credentials, self._parent, id, "", 0, f"{self._tree.place}/x").encoded()
        words = [f"{root}/{LOADER}", "--library-path", f"{root}/{LIBRARIES}", f"{root}/{PYTHON}"]
        words += ["-I", "-S", "-X", "utf8", "-m", "gproc", STARTED_WORD]
        environ = {"PATH": os.defpath, "HOME": self._tree.place, "XDG_CACHE_HOME": f"{self._tree.place}/cache"}
        secret, writer = os.pipe()
        os.write(writer, told)
        os.close(writer)
        ready, said = os.pipe()
        log_path = f"{self._tree.place}/started.log"
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        lock = os.open(f"{self._tree.place}/started.lock", os.O_RDWR | os.O_CREAT)
        with _above(secret) as secret, _above(said) as said, _above(lock) as lock, _above(log) as log:
            places = ((secret, 3), (said, 4), (lock, 5), (log, 6), (log, 1), (log, 2))
            actions = [(os.POSIX_SPAWN_DUP2, each, place) for each, place in places]
            began_s = time.perf_counter()
            pid = os.posix_spawn(words[0], words, environ, file_actions=actions, setsid=True)
        try:
            joined = select.select([ready], [], [], JOIN_S)[0] and os.read(ready, 100)
            wall_s = time.perf_counter() - began_s
            if not joined:
                with open(log_path, errors="replace") as file:
                    raise TreeFailed(f"a slave of {root} did not join: {file.read()[-500:]}")
            cpu = processes.cpu_time(pid)
            time.sleep(IDLE_S)
            return Start(wall_s * 1000, (cpu.own + cpu.children) * 1000, processes.memory(pid))
        finally:
            os.close(ready)
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


@contextlib.contextmanager
def _above(descriptor: int) -> Iterator[int]:
    """The same file at a number that is none of a slave's."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, ABOVE)
    os.close(descriptor)
    try:
        yield moved
    finally:
        os.close(moved)


def measured(archives: list[str], rounds: int) -> dict[str, list[Start]]:
    found: dict[str, list[Start]] = {path: [] for path in archives}
    with Tree(0, 0) as tree:
        roots = {}
        for number_of, path in enumerate(archives):
            roots[path] = f"{tree.place}/runtime{number_of}"
            with tarfile.open(path) as archive:
                archive.extractall(roots[path], filter="data")
        os.sync()  # pages that are not on the disk yet count as private
        field = Field(tree)
        for turn in range(-1, rounds):
            for path in archives if turn % 2 else reversed(archives):
                start = field.start(roots[path])
                if turn >= 0:  # the first one reads the files
                    found[path].append(start)
    return found


def row(path: str, starts: list[Start], first: list[Start]) -> tuple[str, ...]:
    cpu = [start.cpu_ms for start in starts]
    ratio = median(start.cpu_ms / before.cpu_ms for start, before in zip(starts, first, strict=True))
    return (
        path,
        f"{number(median(cpu))} ({number(min(cpu))}-{number(max(cpu))})",
        number(ratio),
        number(median(start.wall_ms for start in starts)),
        number(median(start.memory.resident for start in starts) / MB),
        number(median(start.memory.proportional for start in starts) / MB),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="+", metavar="RUNTIME")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    shown = machine_of_now().shown
    try:
        found = measured(options.archives, options.rounds)
    except TreeFailed as error:
        print(f"bench/runtimes.py: {error}", file=sys.stderr)
        return 1
    head = ("runtime", "CPU ms", "to the first, in each round", "wall ms", "resident MB", "proportional MB")
    rows = [row(path, starts, found[options.archives[0]]) for path, starts in found.items()]
    print(markdown(shown, head, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
