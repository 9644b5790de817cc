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
"""In the cluster's directory: held while the tree is changed.  It names the holder, because front ends may share a
home."""

UPGRADING: Final = "upgrading.lock"
"""The same, held as long as an upgrade waits for jobs, and the nodes that it has drained take none."""

HOLDER_BYTES_MAX: Final = 200


@contextmanager
def changing(home: str, verb: str, tell: Callable[[str], None]) -> Iterator[None]:
    """In the block, no other command changes the tree of the cluster at `home`.

    Two at once would start two masters at one socket, and end slaves that the other one has just started.
    tell: called with a sentence if another command does so now, before this one waits.
    """
    with _in_turn(home, FILE, verb, lambda holder: tell(f"waits for {holder}, which changes the tree")):
        yield


@contextmanager
def upgrading(home: str, tell: Callable[[str], None]) -> Iterator[None]:
    """There is no other upgrade meanwhile: each would give back the nodes that the other one has drained.

    tell: called with what is another one now, before this one waits; what it raises is raised here.
    """
    with _in_turn(home, UPGRADING, "upgrade", tell):
        yield


@contextmanager
def _in_turn(home: str, name: str, verb: str, tell: Callable[[str], None]) -> Iterator[None]:
    path = os.path.join(home, name)
    with locked(home, name, lambda: tell(_holder(path))):
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
    with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:  # a full disk hinders no command
        file.write(content)
