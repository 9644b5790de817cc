"""Files that a user's own commands keep between runs: read only where they are the user's, and replaced whole."""

from __future__ import annotations

import contextlib
import os
import time


def read_own(path: str) -> bytes | None:
    """What is there; None where it is somebody else's.  Raises: OSError."""
    with open(path, "rb", buffering=0) as file:
        return file.read() if os.fstat(file.fileno()).st_uid == os.geteuid() else None


def replace(path: str, content: bytes) -> None:
    """Put a file there, with its directory, in one step: nobody sees half of it.  Raises: OSError."""
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
