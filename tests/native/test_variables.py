"""The variables in a job's plan: those that all tasks of a list share are encoded once."""

from __future__ import annotations

import pytest

from gproc.launch import operations
from gproc.launch.cgroup import Group
from gproc.launch.operations import NotPlanned
from gproc.launch.protocol import Start
from gproc.request.spec import HEAVY_BYTES, Caller, Request
from gproc.root.view import View

VIEW = View("namespaces", (), b"/bin/true", b"/")


def plan(env: tuple[bytes, ...], added: tuple[bytes, ...]) -> bytes:
    request = Request(nodes=".", argv=(b"true",), env=env)
    return operations.plan(Start(1, request, Caller(7, 7, ()), added, VIEW), Group(), slave_uid=7)


@pytest.mark.parametrize("size", [1, HEAVY_BYTES])
def test_a_variable_of_the_task_wins_over_the_callers_and_changes_from_task_to_task(size: int) -> None:
    env = (b"GPROC_TASK=99", b"A=" + b"a" * size)
    for number in (b"1", b"2"):
        told = plan(env, (b"GPROC_TASK=" + number,))
        assert b"GPROC_TASK=99" not in told
        assert told.count(b"GPROC_TASK=" + number) == 1
        assert told.count(b"A=" + b"a" * size) == 1


def test_variables_of_another_caller_are_not_in_a_plan() -> None:
    assert b"HERS=1" in plan((b"HERS=1",), ())
    told = plan((b"HIS=1",), ())
    assert b"HIS=1" in told and b"HERS=1" not in told


def test_a_zero_byte_in_a_variable_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(NotPlanned, match="NUL"):
            plan((b"A=1",), (b"B=a\0b",))
