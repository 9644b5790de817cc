"""The static helper as a bootstrap, for tests: runtimes, and what a front end says."""

from __future__ import annotations

import contextlib
import hashlib
import re
import struct
import subprocess
from pathlib import Path

from gproc.runtime.archive import Content, archive_of
from gproc.start.script import order_to_take

SHELL = Path("/bin/sh")
NAME = "slave-test"
TOKEN = bytes(range(16))


# The kernel is asked to execute ld.so; here it is a script, which sees what a slave would.
RECORDER = b"""#!/bin/sh
cat <&3 >"$0.secret"
echo "$@" >"$0.words"
env >"$0.env"
"""
READY = RECORDER + b"echo joined >&4\nexec sleep 1000 >&6 2>&6 4>&-\n"
FAILING = RECORDER + b"echo 'cannot reach kn1' >&2\nexit 3\n"
HANGING = RECORDER + b"echo begun; sleep 1000\n"


def runtime_of(loader: bytes) -> bytes:
    return archive_of({"ld.so": Content(loader, executable=True), "lib/x": Content(b"x" * 5000)})


class Bootstrap:
    """One run of it, as the front end sees it.  port: where others get what has come, by its last answer "need"."""

    def __init__(self, helper: str, place: Path) -> None:
        self.port = 0
        words = [helper, "bootstrap", str(place)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and its answer says why
            self.process.stdin.write(data)

    def give(self, rest: bytes, offset: int = 0) -> None:
        """What follows an answer "need"."""
        self.send(order_to_take(offset) + rest)

    def answer(self) -> str:
        """The next line that is no sign of life, without its beginning and the port of a "need"; "" at the end."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        while line.startswith("gproc-start doing "):
            line = self.process.stdout.readline().decode()
        line = line.removeprefix("gproc-start ").rstrip("\n")
        if found := re.fullmatch("need ([0-9]+) ([0-9]+)(.*)", line):
            self.port = int(found[2])
            return f"need {found[1]}{found[3]}"
        return line

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> tuple[int, str]:
        assert self.process.stderr is not None
        with self.process:
            self.close()
            return self.process.wait(), self.process.stderr.read().decode()


def header(archive: bytes, words: tuple[str, ...] = (NAME, "s"), secret: bytes = b"", flags: int = 0) -> bytes:
    text = b"".join(word.encode() + b"\0" for word in words)
    digest = hashlib.sha256(archive).digest()
    return struct.pack("<4sIQII32s16s", b"gpb1", len(text), len(archive), len(secret), flags, digest, TOKEN) + text


def stop(helper: str, place: Path) -> str:
    done = subprocess.run([helper, "stop", place, NAME], capture_output=True, text=True)
    return done.stdout.splitlines()[-1].removeprefix("gproc-start ")


def runtimes(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_dir())


def started(helper: str, place: Path, archive: bytes, **more: object) -> Bootstrap:
    secret = more.get("secret", b"")
    assert isinstance(secret, bytes)
    run = Bootstrap(helper, place)
    run.send(header(archive, **more))  # type: ignore[arg-type]
    if (answer := run.answer()) == "need 0":
        run.give(archive)
        answer = run.answer()
    assert re.fullmatch("have [0-9]+", answer)
    run.send(secret)
    return run


def other_runtime(mark: int) -> bytes:
    return archive_of({"ld.so": Content(READY, executable=True), "lib/x": Content(b"%d" % mark)})


def name_of(archive: bytes) -> str:
    return f"runtime-{hashlib.sha256(archive).hexdigest()}"


def idle(helper: str, place: Path) -> tuple[int, str]:
    done = subprocess.run([helper, "idle", place], capture_output=True, text=True)
    return done.returncode, done.stdout.removeprefix("gproc-start ").rstrip("\n")
