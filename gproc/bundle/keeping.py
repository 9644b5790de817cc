"""Files that a user's commands keep between runs: read only if the user owns them, and replaced as a whole."""

from __future__ import annotations

import contextlib
import os
import time


def read_own(path: str) -> bytes | None:
    """The file's content; None if another user owns it.  Raises: OSError."""
    with open(path, "rb", buffering=0) as file:
        return file.read() if os.fstat(file.fileno()).st_uid == os.geteuid() else None


def replace(path: str, content: bytes) -> None:
    """Write a file, and make its directory.  No reader ever sees half of it.  Raises: OSError."""
    directory, name = os.path.split(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    beside = os.path.join(directory, f".{name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
        os.rename(beside, path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def prune(directory: str, count: int) -> None:
    """Remove all but that many of a directory's files, the oldest first.  Raises: OSError."""
    with os.scandir(directory) as entries:
        ages = sorted((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path) for entry in entries)
    for _, path in ages[: max(0, len(ages) - count)]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
