"""Commands that change the tree take turns: one that is given meanwhile waits, and says for which one."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gproc.shown import shown_text
from gproc.trust.home import locked

FILE: Final = "starting.lock"
"""In the cluster's directory: held while the tree is changed.  It says by whom; homes may be shared by front ends."""

HOLDER_BYTES_MAX: Final = 200


@contextmanager
def changing(home: str, verb: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Nobody else changes the tree of the cluster at `home` meanwhile.

    Two at once would start two masters at one socket, and end slaves that the other one has just started.
    tell: called with a sentence if another command does so now, before this one waits.
    """
    path = os.path.join(home, FILE)
    with locked(home, FILE, lambda: tell(f"waits for {_holder(path)}, which changes the tree")):
        _write(path, f"gproc {verb} (process {os.getpid()} on {socket.gethostname()})")
        try:
            yield
        finally:
            _write(path, "")


def _holder(path: str) -> str:
    content = b""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        content = file.read(HOLDER_BYTES_MAX)
    return shown_text(content.decode("utf-8", "replace")) or "another gproc command"


def _write(path: str, content: str) -> None:
    with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:  # a full disk hinders nobody
        file.write(content)
