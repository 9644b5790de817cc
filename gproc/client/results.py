"""The result of a job: its output and its outcomes by node, as one value, and the errors that have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import AnyStr, Generic

import msgspec

from gproc.client.codec import TextCodec
from gproc.client.events import Event, Output
from gproc.client.session_job import SessionJob
from gproc.errors import GprocError
from gproc.request.outcome import Outcome


class CompletedJob(msgspec.Struct, Generic[AnyStr], frozen=True, kw_only=True):
    """A job that has ended, as `subprocess.CompletedProcess` is a process that has ended.

    args: the command, as it was given.  nodes: where it ran, by rank ("1/7").  stdout, stderr: all output, by node.
    outcomes: by node.  missing: nodes that were named and not connected, folded into a node specification; "" if none.
    returncode: what `gproc e` would end with (docs/reference.md): 0 if every node's program returned 0.

        >>> done = cluster.run("./.", ["hostname"])
        >>> done.stdout["1/2"]
        b'kn42\\n'
    """

    args: tuple[str, ...]
    nodes: tuple[str, ...]
    stdout: Mapping[str, AnyStr]
    stderr: Mapping[str, AnyStr]
    outcomes: Mapping[str, Outcome]
    missing: str
    returncode: int
    summary: tuple[str, ...] = ()
    """A line for each kind of failure, with the nodes folded: `gproc e` prints these on stderr."""

    def check_returncode(self) -> None:
        """Raises: JobFailed if `returncode` is not 0."""
        if self.returncode:
            raise JobFailed(self)


class JobFailed(GprocError):
    """A job that failed, at least on one node.  result: the whole result; its parts are attributes here too."""

    def __init__(self, result: CompletedJob[bytes] | CompletedJob[str]) -> None:
        super().__init__("; ".join(result.summary) or f"exit status {result.returncode}")
        self.result = result
        self.outcomes = result.outcomes
        self.returncode = result.returncode
        self.stdout = result.stdout
        self.stderr = result.stderr


class TimeoutExpired(GprocError):
    """The time is up.

    timeout: in seconds.  result: the job's result, if `timeout` was the job's own, so that the job was ended; None if
    it only bounded the caller's waiting, and the job goes on.
    """

    def __init__(self, timeout: float, result: CompletedJob[bytes] | CompletedJob[str] | None = None) -> None:
        what = "the job was ended" if result is not None else "the job goes on"
        super().__init__(f"timed out after {timeout:g} s: {what}")
        self.timeout = timeout
        self.result = result


class Collector:
    """Gathers the events of one job into a `CompletedJob`."""

    def __init__(self, args: tuple[str, ...]) -> None:
        self._args = args
        self._pieces: dict[str, dict[str, list[bytes]]] = {"stdout": {}, "stderr": {}}

    def add(self, event: Event) -> None:
        if isinstance(event, Output):
            self._pieces[event.stream].setdefault(event.node, []).append(event.data)

    def result(self, job: SessionJob, concluded: tuple[int, list[str]]) -> CompletedJob[bytes]:
        """concluded: its status and summary."""
        status, lines = concluded
        return CompletedJob(
            args=self._args,
            nodes=job.nodes,
            stdout={node: b"".join(self._pieces["stdout"].get(node, ())) for node in job.nodes},
            stderr={node: b"".join(self._pieces["stderr"].get(node, ())) for node in job.nodes},
            outcomes=job.outcomes_by_node(),
            missing=job.missing,
            returncode=status,
            summary=tuple(lines),
        )


def decoded(result: CompletedJob[bytes], codec: TextCodec) -> CompletedJob[str]:
    """The same with text.  Raises: UnicodeDecodeError, as subprocess does."""
    return CompletedJob(
        args=result.args,
        nodes=result.nodes,
        stdout={node: data.decode(*codec) for node, data in result.stdout.items()},
        stderr={node: data.decode(*codec) for node, data in result.stderr.items()},
        outcomes=result.outcomes,
        missing=result.missing,
        returncode=result.returncode,
        summary=result.summary,
    )


def checked(
    result: CompletedJob[bytes] | CompletedJob[str], timeout: float | None, check: bool
) -> CompletedJob[bytes] | CompletedJob[str]:
    """The result.  Raises: TimeoutExpired; JobFailed with `check`, as `subprocess.run` does."""
    if timeout is not None and any(outcome.kind == "timed out" for outcome in result.outcomes.values()):
        raise TimeoutExpired(timeout, result)
    if check:
        result.check_returncode()
    return result
