"""The questions that a session asks the master, each of which has one answer.  Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gproc.errors import GprocError, UsageError
from gproc.records.record import NAME_CHARACTERS_MAX, JobName
from gproc.wire.job_messages import (
    LISTED_MAX,
    AskFailed,
    AskFaults,
    DrainNodes,
    FindNodes,
    KillJob,
    ListJobs,
    RemoveJobs,
)
from gproc.wire.messages import Inquire, Message
from gproc.wire.stacks import AskStacks


def job_text(name: str) -> str:
    """A caller's name for a job, as it is sent.

    The master refuses a wrong name itself.  But it ends a connection on which it cannot read a message, and with it
    every job of the program.  Raises: UsageError if it is too long for that.
    """
    if len(name) > NAME_CHARACTERS_MAX:
        JobName.parse(name)
    return name


def removals(names: Sequence[str]) -> list[Sequence[str]]:
    """The names in as many parts as there must be questions; each name once.

    Only a number means the same job when others are gone: "last", and a name that several jobs have had, would then
    mean a job that the caller did not name.  So these are all in the first part, whose jobs are found before any of
    them is removed.

    Raises: UsageError, before anything is removed.
    """
    all_names = list(dict.fromkeys(map(job_text, names)))
    if len(all_names) <= LISTED_MAX:
        return [all_names]
    others = [name for name in all_names if not _is_number(name)]
    if len(others) > LISTED_MAX:
        raise UsageError(f"{len(others)} jobs by name, but at most {LISTED_MAX} at once: give their numbers")
    ordered = [*others, *filter(_is_number, all_names)]
    return [ordered[begin : begin + LISTED_MAX] for begin in range(0, len(ordered), LISTED_MAX)]


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


@contextmanager
def noting(problems: Sequence[str]) -> Iterator[None]:
    """An error that is raised gets these as notes: otherwise they would be lost."""
    try:
        yield
    except GprocError as error:
        for problem in problems:
            error.add_note(problem)
        raise


class SessionQuestions(ABC):
    """The part of a `ClientSession` that asks."""

    _serials: Iterator[int]

    @abstractmethod
    def _send(self, message: Message) -> None: ...

    def kill(self, name: str, signum: int, nodes: str = "") -> int:
        """Send a signal to a job that the master knows.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(KillJob(serial, job_text(name), signum, nodes))
        return serial

    def ask_stacks(self, name: str, nodes: str = "", *, debugger: bool = False) -> int:
        """Ask where a job's processes are.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(AskStacks(serial, job_text(name), nodes, debugger))
        return serial

    def remove(self, names: Sequence[str]) -> int:
        """Remove the records of ended jobs: of one part of `removals`.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(RemoveJobs(serial, tuple(map(job_text, names))))
        return serial

    def ask_failed(self, name: str) -> int:
        """Ask where a job has failed.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(AskFailed(serial, job_text(name)))
        return serial

    def find_nodes(self, hosts: Sequence[str], groups: Sequence[str] = ()) -> int:
        """Ask where hosts are, and what groups mean.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(FindNodes(serial, tuple(hosts), tuple(groups)))
        return serial

    def ask_faults(self) -> int:
        """Ask for the last faults of the tree.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(AskFaults(serial))
        return serial

    def drain(self, nodes: str, reason: str, *, resume: bool) -> int:
        """Keep new jobs from nodes, or let these take jobs again.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(DrainNodes(serial, nodes, resume, reason))
        return serial

    def inquire(self) -> int:
        """Ask for the tree.  Returns the serial number of the `TreeAnswer`."""
        serial = next(self._serials)
        self._send(Inquire(serial))
        return serial

    def list_jobs(self, *, ended: bool) -> int:
        """Ask for the user's jobs, also those that have ended.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(ListJobs(serial, ended))
        return serial
