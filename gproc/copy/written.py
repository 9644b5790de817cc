"""On a node, as the caller: the files that a job has written in its working directory, as a stream of steps.

The directory comes as a descriptor.  The job's namespaces are gone by then, so nothing is mounted in it any more: what
was the node's own in there is an empty file without mode bits, or an empty directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from gproc.copy import attributes
from gproc.copy.collecting import Out, send
from gproc.copy.known import Known
from gproc.copy.source import Missed, Seen, TreeReader
from gproc.copy.steps import NUMBERED_FROM_NODE_MAX, Folder, Leave, not_sent
from gproc.request.globs import Globs, States
from gproc.shown import shown

_TOP: Final = b"."


def collect_written(directory: int, globs: tuple[bytes, ...], came: Known, to: int) -> None:
    """Write the stream to the descriptor `to`.  came: the files that the job was given, which are not sent back.

    What cannot be read is told in the stream itself.  Raises: BrokenPipeError if nobody reads it.
    """
    out = Out(to)

    def missed(at: bytes, error: OSError) -> None:
        complain(f"{shown(at.removeprefix(_TOP + b'/'))}: {error.strerror or error}")

    def complain(line: str) -> None:
        out.step(not_sent(line))

    try:
        os.fchdir(directory)
    except OSError as error:
        missed(b"the working directory", error)
        out.end()
        return
    source = _MatchingReader(missed, Globs(globs), came)
    send(_pruned(source.walk(_TOP)), source, out, missed, Known(b"", b""))


class _MatchingReader(TreeReader):
    """Reads of a tree only files and links that match, and the directories on the way to them."""

    def __init__(self, missed: Missed, globs: Globs, came: Known) -> None:
        super().__init__(missed, kinds=attributes.HARMLESS, special=False, numbered_max=NUMBERED_FROM_NODE_MAX)
        self._globs = globs
        self._came = came

    def _inside(self, handle: int, path: bytes) -> list[tuple[bytes, os.stat_result]]:
        here = path.removeprefix(_TOP).removeprefix(b"/")
        states = self._globs.at(here) if here else self._globs.begin()
        device = os.fstat(handle).st_dev
        return [
            (name, facts)
            for name, facts in super()._inside(handle, path)
            if self._wants(handle, here, name, facts, self._globs.enter(states, name), device)
        ]

    def _wants(
        self, handle: int, here: bytes, name: bytes, facts: os.stat_result, states: States, device: int
    ) -> bool:
        if stat.S_ISDIR(facts.st_mode):
            return self._globs.below(states) and facts.st_dev == device
        if not self._globs.matching(states):
            return False
        path = here + b"/" + name if here else name
        if stat.S_ISREG(facts.st_mode):
            is_place = not facts.st_size and not stat.S_IMODE(facts.st_mode)
            return not is_place and not self._came.has(path, facts.st_size, facts.st_mtime_ns)
        if stat.S_ISLNK(facts.st_mode):
            return not self._came.has(link_key(path, os.readlink(name, dir_fd=handle)), 0, 0)
        return False


def link_key(path: bytes, target: bytes) -> bytes:
    """How a symbolic link is told among what a job was given."""
    return path + b"\0" + target


def _pruned(steps: Iterator[Seen]) -> Iterator[Seen]:
    """Without the directory itself, and without directories in which nothing is sent."""
    within: list[Seen | None] = []  # the directories that we are in; None: it was sent
    for seen in steps:
        if isinstance(seen.step, Folder):
            within.append(seen)
        elif isinstance(seen.step, Leave):
            if within.pop() is None and within:
                yield seen
        else:
            for depth, folder in enumerate(within):
                if folder is not None and depth:
                    yield folder
                within[depth] = None
            yield seen
