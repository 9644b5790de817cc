"""The same work without gproc."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Final

AT_A_TIME: Final = 2
"""The machine of docs/benchmarks.md has two processors, so its yardsticks run two at a time."""


def seconds_of(command: list[str], cwd: str | None = None) -> float:
    """Wall time of a command without its output.  Raises: CalledProcessError."""
    began_s = time.perf_counter()
    subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began_s


def times(count: int, command: str) -> float:
    """Run a shell's simple command `count` times, with the number in place of `{}`."""
    return seconds_of(["sh", "-c", f"seq {count} | xargs -P {AT_A_TIME} -I{{}} {command}"])


def bare_python() -> float:
    """Time to start and end the interpreter that runs this benchmark."""
    return seconds_of([sys.executable, "-c", "pass"])
