"""How a job ended on one node: one type for each way, with its facts, and the exit status that a shell would show.

`kind` names the way in one word, for people and for JSON.

The statuses follow sh(1p), timeout(1) and docker-run(1); docs/reference.md lists them.  Pure.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Union

import msgspec

from gproc.errors import EXIT_GPROC, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_SIGNAL_BASE, EXIT_TIMED_OUT

STATUS_MAX: Final = 255
"""wait(2): eight bits of an exit status reach the parent."""

SIGNAL_MAX: Final = 64
"""SIGRTMAX on Linux: signal(7)."""

SignalNumber = Annotated[int, msgspec.Meta(ge=1, le=SIGNAL_MAX)]


class Returned(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The program returned."""

    kind: ClassVar[str] = "exited"

    code: Annotated[int, msgspec.Meta(ge=0, le=STATUS_MAX)]

    @property
    def status(self) -> int:
        return self.code


class Signalled(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A signal ended the program, and gproc did not send it to end the job."""

    kind: ClassVar[str] = "signalled"

    signal: SignalNumber
    core_dumped: bool = False

    @property
    def status(self) -> int:
        return EXIT_SIGNAL_BASE + self.signal


Ending = Union[Returned, Signalled]  # noqa: UP007 - msgspec wants it so on 3.11
"""How a program ended, from wait(2)."""


class TimedOut(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The job's time was up.  ending: how the program ended after SIGTERM or SIGKILL; None: it did not run yet."""

    kind: ClassVar[str] = "timed out"

    timeout_s: Annotated[float, msgspec.Meta(ge=0, le=10**9)]
    ending: Ending | None

    @property
    def status(self) -> int:
        return EXIT_TIMED_OUT


class Killed(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """gproc ended the job with this signal for its caller.  started: whether the program ran already."""

    kind: ClassVar[str] = "killed"

    signal: SignalNumber
    started: bool

    @property
    def status(self) -> int:
        return EXIT_SIGNAL_BASE + self.signal


class Lost(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The node, or one between it and the master, was lost; how the program ended is unknown.  reason: one clause."""

    kind: ClassVar[str] = "lost"

    reason: str

    @property
    def status(self) -> int:
        return EXIT_GPROC


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """The node did not take the job.  reason: one clause."""

    kind: ClassVar[str] = "refused"

    reason: str

    @property
    def status(self) -> int:
        return EXIT_GPROC


class NotStarted(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """The program never ran.  because: the kind of fault.  reason: one clause."""

    kind: ClassVar[str] = "not started"

    reason: str
    because: Literal["not found", "not executable", "gproc"] = "gproc"

    @property
    def status(self) -> int:
        return {"not found": EXIT_NOT_FOUND, "not executable": EXIT_NOT_EXECUTABLE, "gproc": EXIT_GPROC}[self.because]


Outcome = Union[Returned, Signalled, TimedOut, Killed, Lost, Refused, NotStarted]  # noqa: UP007
