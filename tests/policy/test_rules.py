"""A policy lets a request run, perhaps with less, or says why it may not."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.nodespec import Place
from gproc.policy.rules import (
    AllowText,
    OperateText,
    Operators,
    People,
    Policy,
    PolicyOversight,
    PolicyRefused,
    people_of,
    policy_text,
    rule_of,
)
from gproc.request.limits import Limits
from gproc.request.spec import BundleName, Caller, Request

ALICE = Caller(1000, 1000, (1000, 50))
BOB = Caller(1001, 1001, (1001,))
ROOT = Caller(0, 0, (0,))
HERE = [Place((1,)), Place((1, 2))]


def policy(text: str) -> Policy:
    read = policy_text(tomllib.loads(text))
    rules = tuple(rule_of(allow, people(allow)) for allow in read.allow)
    return Policy(read, rules, tuple(Operators(people(each), frozenset(each.may)) for each in read.operate))


def people(text: AllowText | OperateText) -> People:
    uids, gids = (
        frozenset(each for each in named if isinstance(each, int)) for named in (text.users, text.groups)
    )
    return people_of(text, uids, gids)


def asked(**changes: object) -> Request:
    given_: dict[str, object] = {"nodes": ".", "argv": (b"/bin/true",), "bundle": BundleName(b"d" * 32, 1), **changes}
    return Request(**given_)  # type: ignore[arg-type]


def refusal(of: Policy, caller: Caller, request: Request, running: int = 0) -> str:
    with pytest.raises(PolicyRefused) as refused:
        of.apply(caller, request, HERE, running)
    return str(refused.value)


def test_an_empty_policy_lets_nobody_run_anything() -> None:
    assert refusal(policy(""), ALICE, asked()) == "the policy does not let uid 1000 run programs"
    assert refusal(policy("root = true"), ROOT, asked()) == "the policy does not let uid 0 run programs"


def test_root_runs_nothing_unless_the_policy_says_so() -> None:
    everybody = '[[allow]]\nusers = ["*"]\n'
    assert refusal(policy(everybody), ROOT, asked()) == "the policy does not let root run jobs"
    assert policy("root = true\n" + everybody).apply(ROOT, asked(), HERE) == asked()


@pytest.mark.parametrize("named", ["users = [1000]", "groups = [50]", 'users = ["*"]'])
def test_a_user_is_named_by_number_by_group_or_by_everybody(named: str) -> None:
    assert policy(f"[[allow]]\n{named}\n").apply(ALICE, asked(), HERE) == asked()


def test_who_is_not_named_runs_nothing() -> None:
    only_alice = policy("[[allow]]\nusers = [1000]\ngroups = [50]\n")
    assert refusal(only_alice, BOB, asked()) == "the policy does not let uid 1001 run programs"


@pytest.mark.parametrize(
    ("changes", "does"),
    [
        ({"bundle": None}, "run the nodes' own programs"),
        ({"action": "place"}, "copy files to nodes"),
        ({"action": "collect"}, "fetch files from nodes"),
    ],
)
def test_each_action_is_allowed_by_itself(changes: dict[str, object], does: str) -> None:
    only_run = policy('[[allow]]\nusers = [1000]\nactions = ["run"]\n')
    assert only_run.apply(ALICE, asked(), HERE) == asked()
    assert refusal(only_run, ALICE, asked(**changes)) == f"the policy does not let uid 1000 {does}"


def test_a_job_with_one_node_too_many_is_refused_and_the_node_is_named() -> None:
    rack = policy('[[allow]]\nusers = [1000]\nnodes = "=1/."\n')
    assert refusal(rack, ALICE, asked()) == "the policy does not let uid 1000 run programs on 1"
    assert rack.apply(ALICE, asked(), HERE[1:]) == asked()


def test_the_first_rule_that_fits_decides_for_each_node_and_the_least_of_all_holds() -> None:
    two = policy(
        '[[allow]]\nusers = [1000]\nnodes = "=1"\nprocesses = 5\n[[allow]]\nusers = [1000]\nprocesses = 9\n'
        "memory_mib = 1\n[[allow]]\nusers = [1000]\nprocesses = 1\n"
    )
    assert two.apply(ALICE, asked(), HERE[:1]).limits == Limits(max_procs=5)
    assert two.apply(ALICE, asked(), HERE).limits == Limits(max_procs=5, mem_bytes=1 << 20)
    assert two.apply(ALICE, asked(), HERE[1:]).limits == Limits(max_procs=9, mem_bytes=1 << 20)


def test_so_many_jobs_at_once_and_no_more() -> None:
    few = policy("[[allow]]\nusers = [1000]\njobs = 2\n")
    assert few.apply(ALICE, asked(), HERE, 1) == asked()
    said = "the policy lets uid 1000 have 2 jobs at once, and so many run already"
    assert refusal(few, ALICE, asked(), 2) == said


@given(st.one_of(st.none(), st.integers(1, 1 << 22)), st.integers(1, 1 << 22))
def test_a_policy_never_gives_more_than_was_asked_for(wanted: int | None, most: int) -> None:
    bounded = policy(f"[[allow]]\nusers = [1000]\nprocesses = {most}\n")
    found = bounded.apply(ALICE, asked(limits=Limits(max_procs=wanted)), HERE).limits.max_procs
    assert found == (most if wanted is None else min(most, wanted))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("roots = true", "unknown field `roots`"),
        ("[[allow]]\nusers = [1]\nnode = '.'", "unknown field `node`"),
        ("[[allow]]\nusers = [1]\nnodes = '9-3'", "number 1: "),
        ("[[allow]]\nnodes = '.'", "names neither users nor groups"),
        ("[[allow]]\nusers = [-1]", "Expected `int` >= 0"),
        ("[[allow]]\nusers = [1]\nactions = ['fly']", "Invalid enum value 'fly'"),
        ("[[allow]]\nusers = [1]\njobs = 0", ">= 1"),
        ("audit = 'somewhere'", "an absolute path is wanted"),
        ("[limits]\nuser_connections = 0", ">= 1"),
    ],
)
def test_a_mistake_in_a_policy_is_an_error_and_never_a_rule(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        policy(text)


@pytest.mark.parametrize(
    ("may", "granted"),
    [("", {"see", "kill"}), ('may = ["see"]', {"see"}), ('may = ["output"]', {"see", "output"}),
     ('may = ["kill", "output"]', {"see", "kill", "output"})],
)  # fmt: skip
def test_an_operator_may_do_what_is_named_and_who_is_none_may_do_nothing(may: str, granted: set[str]) -> None:
    of = policy(f"[[operate]]\ngroups = [50]\n{may}\n")
    every: tuple[PolicyOversight, ...] = ("see", "output", "kill")
    assert {each for each in every if of.lets(ALICE, each)} == granted
    assert not any(of.lets(BOB, each) for each in every)


@pytest.mark.parametrize(
    "text", ["[[operate]]\nusers = [1]\nmay = []\n", "[[operate]]\nmay = ['see']\n",
             "[[operate]]\nusers = [1]\nmay = ['type']\n"],
)  # fmt: skip
def test_operators_without_names_or_with_other_rights_are_no_policy(text: str) -> None:
    with pytest.raises(ValueError, match="operate"):
        policy(text)
