"""The line that says how much was read while files are packed."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

WATCHED = """
import signal
from gproc.cli import reading_line
from gproc.content.reading import so_far

reading_line.AFTER_S = reading_line.EVERY_S = 0.01
so_far.size_bytes = 3 << 30
with reading_line.ReadingLine() as line:
    input()
    line.clear()
assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
"""


def test_a_person_sees_how_much_was_read_and_nothing_of_it_stays() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED], stdin=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    seen = b""
    while b"reading files: 3.0G" not in seen:
        seen += os.read(ours, 1000)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait() == 0
    while True:
        try:
            seen += os.read(ours, 1000)
        except OSError:  # EIO: nobody has the terminal any more
            break
    os.close(ours)
    assert seen.endswith(b"\r\x1b[K")


def test_a_program_that_reads_our_messages_sees_nothing_of_it() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], input=b"\n", capture_output=True, check=True)
    assert done.stderr == b""
