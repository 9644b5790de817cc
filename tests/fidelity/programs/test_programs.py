"""Programs as people use them: on nodes that lack them they say, byte for byte, what they say at home.

30 cases run in every `make test` on one node, and in `make stress` on another; `make fidelity` runs all on all.  What
fails is in `failing.toml`; if it works again, its test fails until it is taken off the list.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fidelity.programs.cases import Case, cases, failing
from tests.fidelity.programs.nodes import CI_NODES, NODES, Nodes, Result
from tests.system.cluster import Cluster

ALL = os.environ.get("GPROC_FIDELITY") == "all"
CASES = [case for case in cases() if ALL or case.ci]
FAILING = failing()


@pytest.fixture(scope="module")
def nodes(place: Path) -> Iterator[Nodes]:
    if os.geteuid() != 0 or platform.machine() != "x86_64":
        pytest.skip("needs root and x86_64, for nodes with roots of their own")
    cluster = Cluster(place / "programs")
    cluster.start_master()
    nodes = Nodes(cluster)
    yield nodes
    nodes.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.name))
@pytest.mark.parametrize("node", NODES if ALL else CI_NODES)
def test_a_program_does_there_what_it_does_here(nodes: Nodes, node: str, case: Case) -> None:
    lacking = case.lacking(nodes.home(node).words(case))
    if lacking:
        pytest.skip(f"needs {lacking}")
    here, there = nodes.home(node).result(case), nodes.run(node, case)
    same = there == here or without_gproc(there) == here
    refused = node == "plain" and is_refused(there)
    known = FAILING.get(node, {}).get(case.name)
    record(node, case, "same" if same else "refused" if refused else "different")
    if known is None:
        assert same or refused, f"here {here}\nthere {there}"
    else:
        assert not (same or refused), f"works now: take it off failing.toml ({known})"
        pytest.xfail(known)


def without_gproc(result: Result) -> Result:
    """What is left if gproc's own lines, which come after the program's, are taken away."""
    return Result(result.status, result.stdout, re.sub(rb"(?m)^gproc: .*\n", b"", result.stderr))


def is_refused(result: Result) -> bool:
    """A plain node says what it cannot do, and the program does not run."""
    return result.status in (125, 126) and not result.stdout and b"no private views" in result.stderr


def record(node: str, case: Case, outcome: str) -> None:
    """For `make fidelity`, which counts."""
    to = os.environ.get("GPROC_FIDELITY_LOG")
    if to:
        with open(to, "a", encoding="utf-8") as file:
            file.write(f"{case.kind}\t{node}\t{outcome}\t{case.name}\n")


def test_there_are_at_least_120_cases_and_30_in_every_run() -> None:
    assert len(cases()) >= 120
    assert sum(case.ci for case in cases()) == 30
    assert len({case.name for case in cases()}) == len(cases())
    assert not [name for listed in FAILING.values() for name in listed if name not in {case.name for case in cases()}]


