"""A link that is cut during a job is noticed soon, at both of its ends: packets vanish, and nothing tells either host.

Each node has a network of its own (bench/lab.py).  The switch drops the packets, so no carrier is lost and no
connection is reset: only what stays unacknowledged shows the cut.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from bench import processes
from bench.lab import HEAD, Lab, NoLab
from bench.tree import Tree, gproc

NOTICED_S: Final = 15.0
"""A cut is noticed within 2 s (`--link-timeout`).  A node that is found by its silence alone takes 20 s and more
(`gproc.link.heartbeats.SILENCE_S`).  This bound tells the two apart, on a busy machine too."""

LATE_S: Final = 7.0
"""An idle tree beats every 5 s (`heartbeats.IDLE_S`).  A job of this age has seen a beat of each kind."""

RACK, LEAF = "1", "1/1"


class Site(NamedTuple):
    lab: Lab
    tree: Tree


class Cut(NamedTuple):
    """Which packets vanish.  below: the first node below the cut; ran: the node that runs the job."""

    cut: Callable[[Lab], None]
    mended: str
    below: str
    ran: str


CUTS: Final = {
    "the link of a rack master": Cut(lambda lab: lab.cut(RACK), RACK, RACK, RACK),
    "the way down to a rack master": Cut(lambda lab: lab.cut_to(RACK), RACK, RACK, RACK),
    "the way up from a rack master": Cut(lambda lab: lab.cut_to(HEAD), HEAD, RACK, RACK),
    "the link of a leaf": Cut(lambda lab: lab.cut(LEAF), LEAF, LEAF, LEAF),
    "the link of a rack master, for a leaf below it": Cut(lambda lab: lab.cut(RACK), RACK, RACK, LEAF),
}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    try:
        with Lab([RACK, LEAF], 1000) as lab, Tree(1, 2, lab) as tree:
            yield Site(lab, tree)
    except NoLab as reason:
        pytest.skip(str(reason))


class Noticed(NamedTuple):
    """What came of a cut.  above_s: until the command ended; below_s: until the job's last process had ended."""

    status: int
    complaints: str
    above_s: float
    below_s: float


def begin(site: Site, node: str) -> subprocess.Popen[bytes]:
    """Start a job that never ends by itself, and wait until its program runs."""
    program = ["/bin/sh", "-c", "echo up; exec sleep 1000"]
    words = ["e", "--socket", site.tree.socket, "-localbin", "-n", f"={node}", *program]
    command = subprocess.Popen(
        [*site.lab.entry(HEAD), *gproc(), *words], env=site.tree.environ, cwd="/", stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert command.stdout is not None
    assert command.stdout.readline() == b"up\n"
    return command


def cut(site: Site, which: Cut, age_s: float) -> Noticed:
    """Cut during a job of about this age, and wait until both sides have noticed."""
    with begin(site, which.ran) as command:
        try:
            if age_s:
                with pytest.raises(subprocess.TimeoutExpired):
                    command.wait(age_s)
            ours = f"GPROC_HOME={site.tree.environ['GPROC_HOME']}"
            job = [pid for pid in processes.with_variable(ours) if processes.variable(pid, "GPROC_JOB") is not None]
            assert job
            began_s = time.monotonic()
            which.cut(site.lab)
            ends = ends_of([command.pid, *job])
            _, complaints = command.communicate(timeout=NOTICED_S)
        finally:
            command.kill()
    left = [pid for pid, end_s in ends.items() if end_s is None]
    assert not left, f"after {NOTICED_S:.0f} s these still ran: {left}"
    above_s = (ends[command.pid] or 0.0) - began_s
    below_s = max(ends[pid] or 0.0 for pid in job) - began_s
    return Noticed(command.returncode, complaints.decode(), above_s, below_s)


def ends_of(pids: list[int]) -> dict[int, float | None]:
    """When each process ended, of time.monotonic(); None: not within NOTICED_S."""
    ends: dict[int, float | None] = dict.fromkeys(pids)
    deadline_s = time.monotonic() + NOTICED_S
    poller = select.poll()
    handles = {os.pidfd_open(pid): pid for pid in pids}
    for handle in handles:
        poller.register(handle, select.POLLIN)
    while None in ends.values() and (left_s := deadline_s - time.monotonic()) > 0:
        for handle, _ in poller.poll(left_s * 1000):
            ends[handles[handle]] = time.monotonic()
            poller.unregister(handle)
    for handle in handles:
        os.close(handle)
    return ends


def log_bytes(site: Site, node: str) -> int:
    return Path(site.tree.nodes[node].log).stat().st_size


def await_in_log(site: Site, node: str, text: str, mark: int) -> None:
    """Wait until a node's log has this text after its first `mark` bytes.

    The job's end does not show that each node has noticed: a leaf may lose its rack master before the rack master
    loses the master.
    """
    tail = ["tail", "-f", "-c", f"+{mark + 1}", site.tree.nodes[node].log]
    with subprocess.Popen(tail, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        seen = b""
        deadline_s = time.monotonic() + NOTICED_S
        try:
            while text.encode() not in seen:
                ready, _, _ = select.select([reader.stdout], [], [], max(0.0, deadline_s - time.monotonic()))
                assert ready, f"the log of {node} has no {text!r} after {NOTICED_S:.0f} s: {seen.decode()}"
                seen += os.read(reader.stdout.fileno(), 1 << 16)
        finally:
            reader.kill()


@pytest.mark.slow
@pytest.mark.parametrize("age_s", [0.0, LATE_S], ids=["as it starts", "late"])
@pytest.mark.parametrize("name", CUTS)
def test_a_cut_link_is_noticed_at_both_ends_at_any_time_of_a_job(site: Site, name: str, age_s: float) -> None:
    which = CUTS[name]
    above = which.below.rpartition("/")[0] or HEAD
    marks = {node: log_bytes(site, node) for node in (above, which.below)}
    try:
        noticed = cut(site, which, age_s)
        assert noticed.status == 125
        assert f"{which.ran}: lost" in noticed.complaints
        await_in_log(site, above, f"node {which.below.rpartition('/')[2]} left: ", marks[above])
        await_in_log(site, which.below, "lost the parent at ", marks[which.below])
    finally:
        site.lab.mend(which.mended)
        site.tree.await_nodes(site.tree.size)
