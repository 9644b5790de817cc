"""A host whose link has a tenth of its siblings' rate sends to no other host, and its siblings do not wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lab import Lab
from bench.payload import cold_root, random_file
from bench.tree import Tree
from tests.laboratory import laboratory

MIB = 1 << 20
SIZE_BYTES = 16 * MIB
NAMES = [str(number) for number in range(1, 6)]
SLOW = NAMES[0]
"""The node at the root of one tree, through which all others are to get one stripe."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory(NAMES, 80, {SLOW: 8}) as lab:
        yield lab


@pytest.mark.stress
def test_a_slow_child_sends_to_nobody_and_the_others_do_not_wait(lab: Lab) -> None:
    with Tree(len(NAMES), 1, lab) as tree:
        root = cold_root(f"{tree.place}/root", "/bin/echo")
        sent = []
        for run in range(2):
            random_file(f"{root}/payload.{run}", SIZE_BYTES)
            before = lab.traffic()[SLOW].sent
            said = tree.run("e", "-l", "-r", root, "-f", f"/payload.{run}", ".", "/bin/echo", "here").output.decode()
            sent.append(lab.traffic()[SLOW].sent - before)
            assert sorted(line.split()[-1] for line in said.splitlines()) == ["here"] * len(NAMES)
            # The node that prints last received the payload last.
            assert said.splitlines()[-1].startswith(f"{SLOW}")
        log = Path(tree.place, "master.log").read_text()
        assert log.count(f"node {SLOW} (node{SLOW}) is slow: it no longer sends to peers") == 1
        # Two children asked it for a half until it was found slow; no child asked it for the next payload.
        assert sent[0] < SIZE_BYTES // 2
        assert sent[1] < SIZE_BYTES // 20
