"""A terminal for tests: what a person types and sees."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster


class Screen:
    """A terminal with a command of gproc in its foreground, `gproc e` if no other mode is named."""

    def __init__(
        self, cluster: Cluster, *words: str, rows: int = 33, columns: int = 101, mode: str = "e", **options: object
    ) -> None:
        self._ours, self.theirs = os.openpty()
        self.size(rows, columns)
        self.before = termios.tcgetattr(self.theirs)
        self.seen = ""
        ends = {"stdin": self.theirs, "stdout": self.theirs, "stderr": self.theirs}
        env = {"TERM": "dumb", "PS1": "$ ", "XDG_CACHE_HOME": str(cluster.place / "caches")}
        self.process: subprocess.Popen[bytes] = cluster.begin(
            mode, *words, **ends, start_new_session=True, env=env, **options
        )

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def shows(self, pattern: str) -> re.Match[str]:
        """Wait until the pattern matches, after the last match."""
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self._ours], [], [], PATIENCE_S)
            assert ready, f"nothing like {pattern!r} in {self.seen!r}"
            self.seen += os.read(self._ours, 4096).decode()
        self.seen = self.seen[found.end() :]
        return found

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def ends(self) -> int:
        """Wait for the command's end.  Returns its exit status, and checks that the terminal is restored."""
        ended = os.pidfd_open(self.process.pid)
        while ended not in (ready := select.select([ended, self._ours], [], [], PATIENCE_S)[0]):
            assert ready, f"it does not end after {self.seen!r}"
            self.seen += os.read(self._ours, 4096).decode()
        os.close(ended)
        status = self.process.wait()
        assert termios.tcgetattr(self.theirs) == self.before
        return status

    def hang_up(self) -> None:
        os.close(self._ours)
        self._ours = -1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.theirs)
        if self._ours >= 0:
            os.close(self._ours)
