"""`gproc e --retry-failed`: the last job once more, on the nodes where it has failed."""

from __future__ import annotations

import os
from typing import Final

from msgspec.structs import replace

from gproc.cli.options import ExecOptions
from gproc.cli.stderr import complain
from gproc.client.questions import answer_to
from gproc.client.resolving import failed_nodes
from gproc.errors import GprocError, UsageError
from gproc.shown import command_text
from gproc.wire.job_messages import FailedNodes

SHELL: Final = ("/bin/sh", "-c")


def retried(options: ExecOptions) -> ExecOptions:
    """The same with nodes and a command.

    Raises: GprocError if there is no last job, if it still runs, if none of its nodes has failed, or if its command is
    not known or was no program that each node ran.
    """
    answer = answer_to(options.socket, lambda session: session.ask_failed("last"))
    assert isinstance(answer, FailedNodes)
    if answer.action == "map" and not options.command:
        raise UsageError(
            f"job {answer.job} was a map, and its tasks are no node's own: give gproc map the lines that failed, which "
            "it has named and --joblog writes down; else say the command behind --retry-failed"
        )
    if answer.runs:
        raise GprocError(f"your last job, {answer.job}, has not ended: gproc wait {answer.job}")
    nodes = failed_nodes(answer)
    if options.command:
        return replace(options, nodes=nodes)
    words = tuple(map(os.fsdecode, answer.argv))
    if not answer.whole:
        raise UsageError(f"the command of job {answer.job} is longer than its record: say it behind --retry-failed")
    if answer.action in ("place", "collect"):
        raise UsageError(
            f"job {answer.job} was {command_text(answer.argv)}: for a copy use @failed as NODES, else say the command "
            "behind --retry-failed"
        )
    complain([f"job {answer.job} again on {nodes}: {command_text(answer.argv)}"])
    if options.shell or (words[:2] == SHELL and len(words) == 3):
        return replace(options, nodes=nodes, command=words[2:], shell=True)
    return replace(options, nodes=nodes, command=words)
