"""The questions that a session asks the master, each of which has one answer.  Without I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from gproc.wire.job_messages import AskFailed, AskFaults, DrainNodes, FindNodes, KillJob, ListJobs, RemoveJobs
from gproc.wire.messages import Inquire, Message
from gproc.wire.stacks import AskStacks


class SessionQuestions(ABC):
    """The part of a `ClientSession` that asks."""

    _serials: Iterator[int]

    @abstractmethod
    def _send(self, message: Message) -> None: ...

    def kill(self, name: str, signum: int, nodes: str = "") -> int:
        """Send a signal to a job that the master knows.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(KillJob(serial, name, signum, nodes))
        return serial

    def ask_stacks(self, name: str, nodes: str = "", *, debugger: bool = False) -> int:
        """Ask where a job's processes are.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(AskStacks(serial, name, nodes, debugger))
        return serial

    def remove(self, names: Sequence[str]) -> int:
        """Remove the records of ended jobs.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(RemoveJobs(serial, tuple(names)))
        return serial

    def ask_failed(self, name: str) -> int:
        """Ask where a job has failed.  Returns the serial number of the `Answered`."""
        serial = next(self._serials)
        self._send(AskFailed(serial, name))
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
