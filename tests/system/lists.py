"""Lists of tasks, and tasks that wait until the test lets them go on."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.patience import PATIENCE_S


def numbers(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


def give(process: subprocess.Popen[bytes], data: bytes, *, ends: bool = True) -> None:
    """Give a command its list.  ends: or the first part of it."""
    assert process.stdin is not None
    process.stdin.write(data)
    if ends:
        process.stdin.close()
        process.stdin = None
    else:
        process.stdin.flush()


class Gate:
    """Tasks that say that they run, and end when the test lets them."""

    def __init__(self, place: Path, name: str) -> None:
        self.place = place / name
        self.place.mkdir()
        self.place.chmod(0o777)
        begin = f"echo $GPROC_NODE > {self.place}/new.$1; mv {self.place}/new.$1 {self.place}/in.$1"
        wait = f"while [ ! -e {self.place}/go.$1 ]; do sleep 0.05; done; rm {self.place}/in.$1"
        self.program = ("/bin/sh", "-c", f"{begin}; {wait}; echo $1 on $GPROC_NODE", "x", "{}")

    def running(self) -> set[str]:
        return {name.removeprefix("in.") for name in os.listdir(self.place) if name.startswith("in.")}

    def runs(self, count: int) -> set[str]:
        """Wait until so many run.  Returns which."""
        until_s = time.monotonic() + PATIENCE_S
        while len(found := self.running()) != count:
            assert time.monotonic() < until_s, f"{found} run, not {count}"
            time.sleep(0.02)
        return found

    def node_of(self, task: str) -> str:
        return (self.place / f"in.{task}").read_text().strip()

    def let_go(self, *tasks: str) -> None:
        for task in tasks:
            (self.place / f"go.{task}").touch()
