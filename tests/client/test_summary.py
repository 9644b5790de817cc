"""The summary of a job, and the exit status: docs/reference.md."""

from __future__ import annotations

import signal

import pytest

from gproc.client.summary import summarise
from gproc.errors import EXIT_GPROC
from gproc.nodespec import NodeSpec
from gproc.request.outcome import Killed, Lost, NotStarted, Outcome, Refused, Returned, Signalled, TimedOut
from gproc.request.wording import describe, name_of

PATHS = [(1,), (1, 1), (1, 2), (2,)]
FINE = Returned(0)


def summary(*outcomes: Outcome, missing: str = "") -> tuple[int, list[str]]:
    return summarise(PATHS[: len(outcomes)], dict(enumerate(outcomes)), missing)


def test_if_every_program_returned_0_the_summary_is_empty() -> None:
    assert summary(FINE, FINE, FINE, FINE) == (0, [])


def test_the_status_is_the_highest_of_all() -> None:
    assert summary(Returned(3), FINE, Returned(200), Returned(4))[0] == 200
    assert summary(NotStarted("not found", "not found"), Returned(1))[0] == 127


def test_the_same_ending_on_several_nodes_is_one_line_that_can_be_pasted_into_the_next_command() -> None:
    status, lines = summary(FINE, Returned(3), Returned(3), Returned(7))
    assert status == 7
    assert lines == ["=1/1-2: exit status 3", "2: exit status 7"]
    nodes = NodeSpec.parse(lines[0].partition(":")[0])
    assert [path for path in PATHS if nodes.selects(path)] == [(1, 1), (1, 2)]


def test_a_named_node_that_is_not_connected_is_a_failure_of_gproc() -> None:
    assert summary(FINE, missing="=5-7") == (EXIT_GPROC, ["=5-7: not connected"])
    assert summary(Returned(200), missing="=5-7")[0] == 200


def test_a_node_without_an_outcome_is_lost() -> None:
    status, lines = summarise(PATHS, {0: FINE, 1: FINE, 2: FINE}, "")
    assert status == EXIT_GPROC
    assert lines == ["2: lost: its end was not reported"]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (FINE, ""),
        (Returned(1), "exit status 1"),
        (Returned(124), "exit status 124"),
        (Signalled(11, True), "killed by SIGSEGV, core dumped"),
        (Signalled(9), "killed by SIGKILL"),
        (Signalled(63), "killed by signal 63"),
        (TimedOut(5.0, Signalled(9)), "timed out after 5 s"),
        (TimedOut(0.5, Returned(0)), "timed out after 0.5 s"),
        (Killed(9, True), "killed by SIGKILL"),
        (Killed(2, False), "killed by SIGINT before it was started"),
        (NotStarted("prog: not found", "not found"), "prog: not found"),
        (Refused("a replayed ticket"), "refused: a replayed ticket"),
        (Lost("link down"), "lost: link down"),
    ],
    ids=repr,
)
def test_each_ending_has_its_words(outcome: Outcome, words: str) -> None:
    assert describe(outcome) == words


def test_a_signal_is_called_by_its_name() -> None:
    assert name_of(signal.SIGTERM) == "SIGTERM"
    assert name_of(40) == "signal 40"
