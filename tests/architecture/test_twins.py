"""What is written twice, in C for the helper and in Python for a node without it, has the same bounds and numbers."""

from __future__ import annotations

import re
from typing import Final

import pytest

from gproc.launch import left, operations
from gproc.native.build import HERE
from gproc.root import mounts, place

PAIRS: Final = {
    ("place.c", "ENTRIES_MAX"): place.ENTRIES_MAX,
    ("place.c", "DEPTH_MAX"): place._DEPTH_MAX,
    ("left.c", "ENTRIES_MAX"): left.ENTRIES_MAX,
    ("left.c", "DEPTH_MAX"): left._DEPTH_MAX,
    ("view.c", "OPTIONS_BYTES"): mounts._OPTIONS_BYTES_MAX + 1,  # with its NUL
}


@pytest.mark.parametrize(("source", "name"), PAIRS, ids=str)
def test_a_bound_is_the_same_in_c_and_in_python(source: str, name: str) -> None:
    found = re.findall(rf"^#define {name} ([0-9]+)u?\b", (HERE / source).read_text(), re.MULTILINE)
    assert [int(number) for number in found] == [PAIRS[source, name]]


def test_the_stages_at_which_a_job_can_fail_are_the_same_in_c_and_in_python() -> None:
    [listed] = re.findall(r"enum stage \{([^}]*)\}", (HERE / "failure.h").read_text())
    assert [name.strip().removeprefix("STAGE_").lower() for name in listed.split(",")] == list(operations.STAGES)


def test_the_format_of_a_plan_is_the_same_in_c_and_in_python() -> None:
    [name] = re.findall(r'^#define PLAN_FORMAT "([^"]*)"', (HERE / "plan.h").read_text(), re.MULTILINE)
    assert name.encode() == operations.FORMAT
