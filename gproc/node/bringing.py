"""The files that a job brings back: what the task that sends them is told, and what is said if it cannot begin."""

from __future__ import annotations

from collections.abc import Iterator

from gproc.content.manifest import File, Manifest, Symlink
from gproc.copy.builtin import CollectWritten
from gproc.copy.known import told_of_files
from gproc.copy.steps import End, not_sent, step_frame
from gproc.copy.written import link_key
from gproc.request.spec import Request


def task_of(request: Request, manifest: Manifest | None) -> CollectWritten:
    """manifest: of the bundle that the job came with."""
    below = request.cwd.rstrip(b"/") + b"/"
    came = told_of_files(_given(manifest, below)) if manifest is not None else b""
    return CollectWritten(request.collect, came)


def _given(manifest: Manifest, below: bytes) -> Iterator[tuple[bytes, int, int]]:
    for entry in manifest.entries:
        if not entry.path.startswith(below):
            continue
        path = entry.path.removeprefix(below)
        if isinstance(entry, File):
            yield path, entry.size_bytes, entry.mtime_ns
        elif isinstance(entry, Symlink):
            yield link_key(path, entry.target), 0, 0


def nothing_but(line: str) -> bytes:
    """A stream that has no file, and this line."""
    return step_frame(not_sent(line)) + step_frame(End())
