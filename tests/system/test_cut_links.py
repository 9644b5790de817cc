"""A link that is cut during a job is noticed soon, at both of its ends, and the job goes on when there is a way again.

Packets vanish, and nothing tells either host.

Each node has a network of its own (bench/lab.py).  The switch drops the packets, so no carrier is lost and no
connection is reset: only what stays unacknowledged shows the cut.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from bench.lab import HEAD, Lab, NoLab
from bench.tree import Tree, gproc
from tests.patience import PATIENCE_S

LATE_S: Final = 3.0
"""An idle tree beats every second (`heartbeats.IDLE_S`).  A job of this age has seen a beat of each kind."""

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


def begin(site: Site, node: str) -> subprocess.Popen[bytes]:
    """Start a job that ends when its standard input does, and wait until its program runs."""
    words = ["e", "--socket", site.tree.socket, "-localbin", f"={node}", "/bin/sh", "-c", "echo up; exec cat"]
    command = subprocess.Popen(
        [*site.lab.entry(HEAD), *gproc(), *words], env=site.tree.environ, cwd="/", stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert command.stdout is not None
    assert command.stdout.readline() == b"up\n"
    return command


def log_bytes(site: Site, node: str) -> int:
    return Path(site.tree.nodes[node].log).stat().st_size


def parent_of(site: Site, node: str) -> tuple[str, str]:
    """The parent of a node now, and its number there: after the test before, the master may have adopted it."""
    number = re.findall(r" joined \S+ as node (\S+),", Path(site.tree.nodes[node].log).read_text())[-1]
    return (HEAD if number.startswith("+") else node.rpartition("/")[0] or HEAD), number


def await_in_log(site: Site, node: str, text: str, mark: int) -> None:
    """Wait until a node's log has this text after its first `mark` bytes.

    The job's end does not show that each node has noticed: a leaf may lose its rack master before the rack master
    loses the master.
    """
    tail = ["tail", "-f", "-c", f"+{mark + 1}", site.tree.nodes[node].log]
    with subprocess.Popen(tail, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        seen = b""
        deadline_s = time.monotonic() + PATIENCE_S
        try:
            while text.encode() not in seen:
                ready, _, _ = select.select([reader.stdout], [], [], max(0.0, deadline_s - time.monotonic()))
                assert ready, f"the log of {node} has no {text!r} after {PATIENCE_S:.0f} s: {seen.decode()}"
                seen += os.read(reader.stdout.fileno(), 1 << 16)
        finally:
            reader.kill()


@pytest.mark.slow
def test_a_node_leaves_a_rack_master_that_only_the_master_cannot_reach_and_its_job_goes_on(site: Site) -> None:
    """It kept that parent until its lease ended, and its programs with it.  The first test: the leaf is at home."""
    leaf, front = log_bytes(site, LEAF), log_bytes(site, HEAD)
    command = begin(site, LEAF)
    try:
        site.lab.part(HEAD, RACK)
        await_in_log(site, LEAF, "it has no way to the master, and this node has", leaf)
        await_in_log(site, HEAD, f"{LEAF} (", front)
        out, errors = command.communicate(b"whole and once\n", timeout=PATIENCE_S)
        assert (command.returncode, out) == (0, b"whole and once\n"), errors
    finally:
        command.kill()
        site.lab.rejoin(HEAD, RACK)
        site.tree.await_nodes(site.tree.size)

@pytest.mark.slow
@pytest.mark.parametrize(
    "age_s", [0.0, pytest.param(LATE_S, marks=pytest.mark.stress)], ids=["as it starts", "late"]
)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.stress] if "way" in name else []) for name in CUTS]
)
def test_a_cut_link_is_noticed_at_both_ends_and_its_job_goes_on_at_any_time_of_it(
    site: Site, name: str, age_s: float
) -> None:
    which = CUTS[name]
    above, number = parent_of(site, which.below)
    marks = {node: log_bytes(site, node) for node in (above, which.below)}
    command = begin(site, which.ran)
    try:
        if age_s:
            with pytest.raises(subprocess.TimeoutExpired):
                command.wait(age_s)
        which.cut(site.lab)
        await_in_log(site, above, f"node {number} left: ", marks[above])
        await_in_log(site, which.below, "lost the parent at ", marks[which.below])
        site.lab.mend(which.mended)
        out, errors = command.communicate(b"whole and once\n", timeout=PATIENCE_S)
        assert (command.returncode, out) == (0, b"whole and once\n"), errors
    finally:
        command.kill()
        site.lab.mend(which.mended)
        site.tree.await_nodes(site.tree.size)
