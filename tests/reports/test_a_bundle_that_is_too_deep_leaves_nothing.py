"""A bundle that a node could not lay out left its draft in the store at each try, and a line of 4,200 bytes."""

from __future__ import annotations

import os
from pathlib import Path

from gproc.disk.trees import remove_tree
from tests.system.cluster import Cluster


def test_what_cannot_be_laid_out_leaves_no_draft_and_a_short_message(tree: Cluster, place: Path) -> None:
    here = os.open(place, os.O_PATH)
    # In the store it is deeper than here: below `place`, its path still fits.
    steps = (4090 - len(os.fsencode(place / "x"))) // 101
    try:
        for _ in range(steps):
            os.mkdir("d" * 100, dir_fd=here)
            below = os.open("d" * 100, os.O_PATH, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("x", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here))
    finally:
        os.close(here)
    try:
        done = tree.exec("-f", str(place), "2", "true")
    finally:
        remove_tree(os.fsencode(place / ("d" * 100)))
    assert done.returncode == 125, done
    assert b"File name too long" in done.stderr
    assert max(map(len, done.stderr.splitlines())) < 600
    assert [each for each in tree.place.glob("*/drafts/*") if each.parent.name == "drafts"] == []
