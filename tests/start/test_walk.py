"""The original's README, followed word for word on 22 bare hosts: two racks of KANE, and the same hosts flat."""

from __future__ import annotations

import pytest

from gproc import native
from tests.start.lab import why_not
from tests.start.walk import Walk, kane_lab

NUMBERS = range(19, 41)
"""A node of the first rack, its rack master, and the whole second rack: each node's parent is among them."""


@pytest.mark.stress
def test_the_walk_of_the_originals_readme_for_kane_and_for_kf(tmp_path_factory: pytest.TempPathFactory) -> None:
    if reason := native.why_missing() or why_not():
        pytest.skip(reason)
    with kane_lab(tmp_path_factory.mktemp("kane"), NUMBERS) as lab:
        walk = Walk(lab, NUMBERS)
        walk.prepare()
        walk.kane()
        walk.kf()
