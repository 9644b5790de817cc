"""A large file to one node and back: `gproc cp`, `gproc get` and scp on loopback, in turn.

    python bench/copies.py [--mib 512] [--rounds 5] [--other CHECKOUT]

Each round makes a new file of random bytes and copies it by each program.  The figures are the medians of the rounds;
the ratios are the medians of each round's ratio.  --other: the work tree of another version, which takes part in each
round.  sshd must be installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench.payload import random_file
from bench.ssh import missing
from bench.tree import Tree, TreeFailed

MIB = 1 << 20


class Elsewhere:
    """Nodes on this machine that run another version."""

    def __init__(self, checkout: str) -> None:
        self._checkout = checkout

    def address(self, name: str) -> str:
        return "127.0.0.1"

    def entry(self, name: str) -> list[str]:
        return ["env", f"PYTHONPATH={self._checkout}"]


@contextmanager
def ssh_server(place: str) -> Iterator[list[str]]:
    """The options of ssh and scp for an sshd on loopback that accepts our key."""
    os.makedirs("/run/sshd", exist_ok=True)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{place}/{key}"], check=True)
    with open(f"{place}/sshd_config", "w") as file:
        file.write(
            f"HostKey {place}/host\nAuthorizedKeysFile {place}/user.pub\nPidFile none\nStrictModes no\n"
            "PermitRootLogin prohibit-password\nUsePAM no\nSubsystem sftp internal-sftp\n"
        )
    # sshd -i needs no port: it serves one connection on its standard input, which ssh makes by ProxyCommand.
    server = f"{shutil.which('sshd') or '/usr/sbin/sshd'} -i -f {place}/sshd_config"
    yield [
        "-i", f"{place}/user", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o",
        "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", f"ProxyCommand={server}",
    ]  # fmt: skip


def calm(place: str, mib: int) -> None:
    """Give each program the same start: nothing waits to be written, and there is free memory that was used before.

    On a virtual machine the first touch of a page takes five times as long as the next one (docs/benchmarks.md), and a
    program that runs behind a deleted file would get that file's pages.
    """
    with open(f"{place}/scratch", "wb") as file:
        for _ in range(2 * mib):
            file.write(bytes(MIB))
    os.unlink(f"{place}/scratch")
    os.sync()


def seconds(*command: str) -> float:
    began_s = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise TreeFailed(f"{command[0]}: {done.stderr.decode(errors='replace')}")
    return time.perf_counter() - began_s


def measure(mib: int, rounds: int, other: str | None) -> None:
    place = tempfile.mkdtemp(prefix="gproc-bench-copies-")
    times: dict[str, list[float]] = {}
    try:
        with ssh_server(place) as options, Tree(1, 1) as tree, Tree(1, 1, Elsewhere(other) if other else None) as old:
            trees = {"": tree} | ({"the other version's ": old} if other else {})
            for number in range(rounds + 1):
                copied = {"scp": _scp(place, mib, options)}
                for name, each in trees.items():
                    copied |= {name + verb: took_s for verb, took_s in _gproc(place, mib, each).items()}
                for name, took_s in copied.items():
                    if number:  # the first round warms up
                        times.setdefault(name, []).append(took_s)
                print("  ".join(f"{name} {took_s:.2f} s" for name, took_s in copied.items()), flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    for name, each_s in times.items():
        ratio = statistics.median(took / scp for took, scp in zip(each_s, times["scp"], strict=True))
        print(f"{name}: {statistics.median(each_s):.2f} s ({min(each_s):.2f}-{max(each_s):.2f}), {ratio:.2f} x scp")


def _scp(place: str, mib: int, options: list[str]) -> float:
    random_file(f"{place}/file", mib * MIB)
    _remove(f"{place}/scp")
    calm(place, mib)
    return seconds("scp", "-q", *options, f"{place}/file", f"localhost:{place}/scp")


def _gproc(place: str, mib: int, tree: Tree) -> dict[str, float]:
    _remove(f"{place}/there")
    shutil.rmtree(f"{place}/home", ignore_errors=True)
    calm(place, mib)
    found = {"cp": tree.run("cp", f"{place}/file", f"1:{place}/there").wall_s}
    calm(place, mib)
    found["get"] = tree.run("get", f"1:{place}/there", f"{place}/home").wall_s
    found["cp again"] = tree.run("cp", f"{place}/file", f"1:{place}/there").wall_s
    subprocess.run(["cmp", f"{place}/file", f"{place}/home/1/there"], check=True)
    return found


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A large file to one node and back, beside scp.")
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--other", metavar="CHECKOUT")
    given = parser.parse_args()
    if (reason := missing()) is not None:
        sys.exit(reason)
    measure(given.mib, given.rounds, given.other)
