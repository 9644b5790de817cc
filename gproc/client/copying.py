"""A copy as a job: the requests of `gproc cp` and `gproc get`, and the text about their results."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from gproc.client.complaints import Complaints
from gproc.client.keywords import time_limit
from gproc.client.receiving import Collected
from gproc.client.requests import check_nodes, name_of
from gproc.client.session_job import SessionJob
from gproc.client.tree import CopyResult
from gproc.content.manifest import PATH_BYTES_MAX
from gproc.copy.builtin import FAILED
from gproc.copy.packing import changed, check_names, pack
from gproc.errors import UsageError
from gproc.naming.words import Words, is_specification
from gproc.packager import Bundle
from gproc.request.outcome import Outcome
from gproc.request.spec import Action, Request
from gproc.shown import quoted_text, shown

TRIES: Final = 3
"""How often one `cp` is tried."""


class Remote(NamedTuple):
    """A path on nodes: `NODES:PATH`."""

    nodes: str
    path: bytes

    @classmethod
    def parse(cls, text: str) -> Remote:
        """The first colon before a slash separates the two, else the first one: a group and a path may have others.

        Raises: UsageError, SpecError.
        """
        nodes, colon, path = _parted(text)
        if not colon:
            raise UsageError(f"{quoted_text(text)} names no nodes: NODES:PATH is wanted, as in 1-80:/etc/motd")
        Words.parse(nodes)
        encoded = os.fsencode(path)
        if not path.startswith("/"):
            raise UsageError(f"{quoted_text(text)}: an absolute path is wanted after the colon")
        if len(encoded) > PATH_BYTES_MAX or b"\0" in encoded:
            raise UsageError(f"{shown(encoded[:80])}...: no path has a NUL or more than {PATH_BYTES_MAX} bytes")
        return cls(nodes, encoded)


def is_remote(text: str) -> bool:
    """Whether a word that should be a path of this machine looks like NODES:PATH."""
    nodes, colon, path = _parted(text)
    if not colon or not path.startswith("/"):
        return False
    return is_specification(nodes)


def _parted(text: str) -> tuple[str, str, str]:
    nodes, colon, path = text.partition(":/")
    return (nodes, ":", f"/{path}") if colon else text.partition(":")


def copy_request(
    remote: Remote, action: Action, *, exclude: str = "", timeout_s: float | None = None, bundle: Bundle | None = None,
    stdin: bool = False,
) -> Request:  # fmt: skip
    """action: "place" for `cp`, "collect" for `get`.  Raises: SpecError for a malformed exclusion."""
    check_nodes(remote.nodes, exclude)
    return Request(
        nodes=remote.nodes,
        exclude=exclude,
        action=action,
        argv=(b"cp" if action == "place" else b"get", remote.path),
        umask=0,
        bundle=name_of(bundle),
        timeout_s=time_limit(timeout_s),
        stdin=stdin,
    )


def note_torn(collected: Collected, outcomes: Mapping[int, Outcome]) -> None:
    """Complain of every node whose stream has no end although its job went well."""
    for rank, outcome in outcomes.items():
        if outcome.status == 0 and not collected.is_whole(rank) and not collected.was_dropped(rank):
            collected.complaints.add(rank, "its files stopped coming before the end; those that arrived are complete")


class CopyTries:
    """The tries of one `cp`.  If a file changes after it was packed and before it was sent, the next try leaves it out.

    failures: a line for each file that could not be read.  missed: called with each line at once, and once only.
    """

    def __init__(self, sources: Sequence[str], missed: Callable[[str], None] = lambda _: None) -> None:
        """Raises: UsageError for two sources that would get the same name, and if there is none."""
        if not sources:
            raise UsageError("nothing to copy: name a file or a directory")
        check_names(sources)
        self.failures: dict[str, None] = {}
        self._sources = sources
        self._missed = missed
        self._left_out: list[bytes] = []
        self._tries = TRIES

    def pack(self) -> Bundle | None:
        """The bundle of the next try; None if nothing could be read."""
        return pack(self._sources, self._fail, self._left_out)

    def again(self, bundle: Bundle, problem: str | None) -> bool:
        """Whether files changed while they were sent, so that another try is needed.  problem: as of `ChunkServer`."""
        self._tries -= 1
        gone = [] if problem is None or self._tries <= 0 else changed(bundle)
        self._left_out += gone
        return bool(gone)

    def result(self, job: SessionJob, complaints: Complaints) -> CopyResult:
        """The result of the last try, with the files that could not be read."""
        result = CopyResult.of(job, complaints)
        return msgspec.structs.replace(
            result,
            returncode=max(result.returncode, FAILED if self.failures else 0),
            complaints=(*self.failures, *result.complaints),
        )

    def nothing(self) -> CopyResult:
        """The result if nothing could be read at all."""
        return CopyResult(FAILED, tuple(self.failures), {})

    def _fail(self, path: bytes, error: OSError) -> None:
        line = f"{shown(path)}: {error.strerror or error}"
        if error.errno == errno.ENOENT and is_remote(os.fsdecode(path)):
            line += "; cp takes files of this machine, gproc get brings those of nodes"
        if line not in self.failures:
            self.failures[line] = None
            self._missed(line)
