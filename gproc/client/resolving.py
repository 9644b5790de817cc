"""What NODES means that is no path of a place: asked of the master, before a job is submitted.

`resolve` is a generator, so that the command line, threads and asyncio can each ask in their own way.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from gproc.client.questions import answer_to
from gproc.client.session import ClientSession
from gproc.errors import GprocError
from gproc.naming.words import MeantNodes, Words, is_plain, joined
from gproc.wire.job_messages import FailedNodes, JobAnswer

JobQuestion = Callable[[ClientSession], int]
"""Asks; returns the serial number of the `Answered`."""


class NoneFailed(GprocError):
    """No node of a job has failed."""

    def __init__(self, job: int, *, runs: bool) -> None:
        super().__init__(job, runs)
        self.job = job
        self.runs = runs

    def __str__(self) -> str:
        return f"no node of job {self.job} has failed" + (" so far" if self.runs else "")


def resolve(nodes: str, exclude: str = "", *, job: str = "last") -> Generator[JobQuestion, JobAnswer, MeantNodes]:
    """What these mean.  job: whose failed nodes `@failed` stands for.

    Raises: SpecError; NoneFailed; JobRejected if there is no such job.
    """
    if is_plain(nodes) and is_plain(exclude):
        return MeantNodes(nodes, exclude)
    chosen = Words.parse(nodes)
    excluded = Words.parse(exclude) if exclude else Words("")
    failed = ""
    if chosen.failed or excluded.failed:
        failed = failed_nodes((yield lambda session: session.ask_failed(job)))
    return MeantNodes(
        joined(chosen.paths, failed if chosen.failed else ""), joined(excluded.paths, failed if excluded.failed else "")
    )


def failed_nodes(answer: JobAnswer) -> str:
    """The nodes on which a job has failed, and those that it was meant for and that were not connected.

    Raises: NoneFailed.
    """
    assert isinstance(answer, FailedNodes)
    nodes = joined(answer.nodes, answer.missing)
    if not nodes:
        raise NoneFailed(answer.job, runs=answer.runs)
    return nodes


def resolved(socket_path: str, nodes: str, exclude: str = "", *, job: str = "last") -> MeantNodes:
    """The same, asked over a connection of its own, if anything must be asked."""
    return run_questions(resolve(nodes, exclude, job=job), lambda question: answer_to(socket_path, question))


def run_questions(
    steps: Generator[JobQuestion, JobAnswer, MeantNodes], ask: Callable[[JobQuestion], JobAnswer]
) -> MeantNodes:
    try:
        question = next(steps)
        while True:
            question = steps.send(ask(question))
    except StopIteration as done:
        found: MeantNodes = done.value
        return found
