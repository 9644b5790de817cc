"""The summary of a job, and the exit status: docs/reference.md."""

from __future__ import annotations

import signal

import pytest

from gproc.client.summary import describe, name_of, summarise
from gproc.errors import EXIT_GPROC, EXIT_TIMED_OUT
from gproc.nodespec import NodeSpec
from gproc.wire.messages import Outcome

PATHS = [(1,), (1, 1), (1, 2), (2,)]
FINE = Outcome(0)


def summary(*outcomes: Outcome, missing: str = "") -> tuple[int, list[str]]:
    return summarise(PATHS[: len(outcomes)], dict(enumerate(outcomes)), missing)


def test_where_every_program_returned_0_there_is_nothing_to_say() -> None:
    assert summary(FINE, FINE, FINE, FINE) == (0, [])


def test_the_status_is_the_highest_of_all() -> None:
    assert summary(Outcome(3), FINE, Outcome(200), Outcome(4))[0] == 200
    assert summary(Outcome(127, failure="not found"), Outcome(1))[0] == 127


def test_the_same_ending_on_several_nodes_is_one_line_that_can_be_pasted_into_the_next_command() -> None:
    status, lines = summary(FINE, Outcome(3), Outcome(3), Outcome(7))
    assert status == 7
    assert lines == ["=1/1-2: exit status 3", "2: exit status 7"]
    nodes = NodeSpec.parse(lines[0].partition(":")[0])
    assert [path for path in PATHS if nodes.selects(path)] == [(1, 1), (1, 2)]


def test_a_node_that_was_named_and_is_not_there_is_a_failure_of_gproc() -> None:
    assert summary(FINE, missing="=5-7") == (EXIT_GPROC, ["=5-7: not connected"])
    assert summary(Outcome(200), missing="=5-7")[0] == 200


def test_a_node_of_whose_end_nothing_was_heard_is_lost() -> None:
    status, lines = summarise(PATHS, {0: FINE, 1: FINE, 2: FINE}, "")
    assert status == EXIT_GPROC
    assert lines == ["2: lost: nothing was heard of its end"]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (FINE, ""),
        (Outcome(1), "exit status 1"),
        (Outcome(128 + 11, 11, True), "killed by SIGSEGV, core dumped"),
        (Outcome(128 + 9, 9), "killed by SIGKILL"),
        (Outcome(128 + 63, 63), "killed by signal 63"),
        (Outcome(EXIT_TIMED_OUT, 9), "timed out"),
        (Outcome(EXIT_TIMED_OUT), "exit status 124"),
        (Outcome(127, failure="prog: not found"), "prog: not found"),
        (Outcome(EXIT_GPROC, failure="link down", lost=True), "lost: link down"),
    ],
    ids=repr,
)
def test_each_ending_has_its_words(outcome: Outcome, words: str) -> None:
    assert describe(outcome) == words


def test_a_signal_is_called_by_its_name() -> None:
    assert name_of(signal.SIGTERM) == "SIGTERM"
    assert name_of(40) == "signal 40"
