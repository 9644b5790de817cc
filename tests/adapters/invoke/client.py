"""A Ninf-G client of our own for tests: it starts a server, sends requests, and reads replies and notifies."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster, await_ends

Lines = list[tuple[str, str]]

MANDATORY: Final[Lines] = [
    ("port", "0"), ("client_name", "localhost"), ("backend", "NORMAL"), ("count", "1"), ("staging", "false"),
    ("redirect_enable", "false"), ("status_polling", "0"), ("refresh_credential", "0"),
]  # fmt: skip


class Client:
    """One server and its three pipes."""

    def __init__(self, cluster: Cluster, *words: str, log: Path | None = None) -> None:
        cluster.home.mkdir(mode=0o700, exist_ok=True)
        (cluster.home / "config.toml").write_text(f'[e]\nsocket = "{cluster.socket}"\n')
        log_words = [] if log is None else ["-l", str(log)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gproc.adapters.invoke.main", *log_words, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            env=cluster.env, cwd=cluster.work,
        )  # fmt: skip
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self._requests = self.process.stdin.fileno()
        self._lines: dict[int, deque[str]] = {}
        self._rest: dict[int, bytes] = {}
        self._replies = self.process.stdout.fileno()
        self._notifies = self.process.stderr.fileno()
        for descriptor in (self._replies, self._notifies):
            self._lines[descriptor], self._rest[descriptor] = deque(), b""
        self._serial = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_pipes()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()

    def close_pipes(self) -> None:
        """As if this client had died."""
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._requests, data) :]

    def reply(self) -> str:
        return self._line(self._replies)

    def notify(self) -> str:
        return self._line(self._notifies)

    def ask(self, line: str) -> str:
        """Send a request of one line.  Returns the reply."""
        self.send(f"{line}\r\n".encode())
        return self.reply()

    def request(self, lines: Sequence[tuple[str, str]], **attributes: object) -> bytes:
        """JOB_CREATE.  attributes: instead of the mandatory ones; a list: it is repeated; None: it is left out."""
        self._serial += 1
        given = dict(MANDATORY) | attributes
        told = [*lines]
        for name, value in given.items():
            values = value if isinstance(value, list) else [] if value is None else [value]
            told += [(name, str(each)) for each in values]
        body = "".join(f"{name} {value}\r\n" for name, value in told)
        return f"JOB_CREATE {self._serial}\r\n{body}JOB_CREATE_END\r\n".encode()

    def create(self, *lines: tuple[str, str], **attributes: object) -> str:
        """Send JOB_CREATE.  Returns the reply."""
        self.send(self.request(lines, **attributes))
        return self.reply()

    def begun(self, *lines: tuple[str, str], **attributes: object) -> str:
        """Send JOB_CREATE, which must succeed.  Returns the job's ID."""
        assert self.create(*lines, **attributes) == "S"
        word, request, result, job = self.notify().split(" ")
        assert (word, request, result) == ("CREATE_NOTIFY", str(self._serial), "S")
        return job

    def statuses(self, job: str) -> list[str]:
        """The statuses that come until this one job has ended."""
        found: list[str] = []
        while not found or found[-1].split()[0] not in ("DONE", "FAILED"):
            word, id, status = self.notify().split(" ", 2)
            assert (word, id) == ("STATUS_NOTIFY", job)
            found.append(status)
        return found

    def run(self, *lines: tuple[str, str], **attributes: object) -> list[str]:
        """Run a job to its end.  Returns its statuses."""
        job = self.begun(*lines, **attributes)
        found = self.statuses(job)
        assert self.ask(f"JOB_DESTROY {job}") == "S"
        return found

    def end_of(self, *, notifies: bool) -> bytes:
        """Read a pipe to its end.  Returns what came."""
        descriptor = self._notifies if notifies else self._replies
        data = b"".join(f"{line}\r\n".encode() for line in self._lines[descriptor]) + self._rest[descriptor]
        while piece := os.read(descriptor, 65536):
            data += piece
        return data

    def _line(self, descriptor: int) -> str:
        lines = self._lines[descriptor]
        while not lines:
            ready, _, _ = select.select([descriptor], [], [], PATIENCE_S)
            assert ready, "the server says nothing"
            piece = os.read(descriptor, 65536)
            assert piece, "the server has ended"
            *whole, self._rest[descriptor] = (self._rest[descriptor] + piece).split(b"\r\n")
            lines += [line.decode() for line in whole]
        line = lines.popleft()
        assert "\n" not in line
        return line


def await_the_end_of_jobs(cluster: Cluster) -> None:
    """Wait until no process of any job is left.  One that was just being started may appear after the others."""
    deadline_s = time.monotonic() + PATIENCE_S
    while running := cluster.job_processes():
        await_ends(running, PATIENCE_S)
        assert time.monotonic() < deadline_s, "processes of jobs go on"


def redirected(tmp_path: Path) -> dict[str, str]:
    """Attributes that send a job's output to two files of this directory."""
    return {"redirect_enable": "true", "stdout_file": str(tmp_path / "out"), "stderr_file": str(tmp_path / "err")}
