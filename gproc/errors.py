"""The families of errors a person can meet, and the exit status each one ends `gproc` with.  Pure.

An error carries its facts as attributes; `str(error)` is one sentence that names what was wrong and, if
something can be done, what to do.  Only `gproc.cli` prints.  Exit statuses (docs/reference.md) are as of sh(1p)
and docker-run(1): 2 usage, 124 timed out, 125 gproc's own failure, 126 not executable, 127 not found.
"""

from __future__ import annotations

from typing import ClassVar, Final

EXIT_USAGE: Final = 2
EXIT_TIMED_OUT: Final = 124
EXIT_GPROC: Final = 125
EXIT_NOT_EXECUTABLE: Final = 126
EXIT_NOT_FOUND: Final = 127
EXIT_SIGNAL_BASE: Final = 128


class GprocError(Exception):
    """Something gproc cannot do; `exit_status` is what the command ends with."""

    exit_status: ClassVar[int] = EXIT_GPROC

    def __reduce__(self) -> tuple[object, ...]:
        """Lets every error be pickled, whatever its constructor takes: a process of a pool hands it to another."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[GprocError], args: tuple[object, ...], facts: dict[str, object]) -> GprocError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class NoMaster(GprocError):
    """No master listens at a socket, or it is not one that its user may talk to.  path: of the socket."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path


class JobRejected(GprocError):
    """The master did not take a job; `exit_status` is what a command ends with."""

    def __init__(self, reason: str, exit_status: int) -> None:
        super().__init__(reason)
        self.exit_status = exit_status  # type: ignore[misc]


class UsageError(GprocError):
    """The command line itself is wrong."""

    exit_status = EXIT_USAGE


class SpecError(UsageError):
    """A node specification that is not one; `position` is the offset of the first wrong character."""

    def __init__(self, text: str, position: int, reason: str) -> None:
        super().__init__(text, position, reason)
        self.text = text
        self.position = position
        self.reason = reason

    def __str__(self) -> str:
        text = "".join(letter if letter.isprintable() else "?" for letter in self.text)  # so the mark stays in place
        return f"node specification: {self.reason}\n  {text}\n  {' ' * self.position}^"


class LocaleError(GprocError):
    """No such locale, or one that does not fit this machine."""


class NoSuchLocale(LocaleError, UsageError):
    """A name that no locale has."""


class PlacementError(LocaleError, UsageError):
    """A switch that says where a node stands is wrong."""


class BundleError(GprocError):
    """The program or one of its files cannot be packed; nothing was sent."""


class ProgramNotFound(BundleError):
    exit_status = EXIT_NOT_FOUND


class ProgramNotExecutable(BundleError):
    exit_status = EXIT_NOT_EXECUTABLE


class TrustError(GprocError):
    """A key, certificate, ticket or peer that is not what it should be."""


class PeerError(GprocError):
    """The other end broke the protocol: its fault, never ours."""


class LinkLost(GprocError):
    """The other end is gone, or silent for longer than it may be."""


class MasterSilent(LinkLost):
    """A master that is there does not answer: it is stopped, or hangs."""


class StoreError(GprocError):
    """The store cannot hold or give what was asked."""


class OverQuota(StoreError):
    """A user would have more in the store than the policy allows."""


class LaunchError(GprocError):
    """A program could not be started on this node."""
