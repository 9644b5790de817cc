"""A gfork that runs for a test, its clients, and the masters and servers that do as the test says."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.patience import PATIENCE_S

PUPPET: Final = Path(__file__).with_name("puppet.py")
OURS: Final = (sys.executable, "-m", "gproc.adapters.gfork")


class Puppet:
    """A process that obeys, over this socket."""

    def __init__(self, control: socket.socket) -> None:
        control.settimeout(PATIENCE_S)
        self.socket = control
        self._answers = control.makefile("rb")

    def ask(self, do: str, **order: Any) -> Any:
        self.order(do, **order)
        return self.answer()

    def order(self, do: str, **order: Any) -> None:
        self.socket.sendall(json.dumps({"do": do, **order}).encode() + b"\n")

    def answer(self) -> Any:
        line = self._answers.readline()
        if not line:
            raise EOFError
        return json.loads(line)

    @property
    def pid(self) -> int:
        return int(self.ask("pid"))

    def receive(self) -> Any:
        """Type, sender, receiver and body of the next message; None at the end of the link."""
        return self.ask("receive")

    def send(self, to: int, body: str, **more: Any) -> None:
        self.ask("send", to=to, body=body, **more)

    def is_over(self) -> bool:
        """Wait for the end of the process: it closes its connection."""
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionError:
            pass
        return True

    def close(self) -> None:
        self._answers.close()
        self.socket.close()


class Gfork:
    """A gfork with this configuration, in the background.  masters: how many there are, obeying `master(n)`.

    stop: the signal that ends it.  program: another gfork than ours.
    """

    def __init__(
        self,
        directory: Path,
        lines: str = "",
        *,
        server: str | None = None,
        masters: int = 0,
        switches: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        program: tuple[str, ...] = OURS,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.directory = directory
        self._doors: list[socket.socket] = []
        master_lines = "".join(self._door(number) for number in range(masters))
        self.config = directory / "gfork.conf"
        self._lines = master_lines
        self._server = server or f"server = {sys.executable}\n server_args = -I -S {PUPPET}"
        self.write(lines)
        self.process = subprocess.Popen(
            [*program, "-c", str(self.config), *switches],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            pass_fds=pass_fds,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        os.set_blocking(self.process.stderr.fileno(), False)
        self._log = b""

    def _door(self, number: int) -> str:
        """A socket that a master dials, and the lines that tell it so."""
        path = self.directory / f"master{number}"
        door = socket.socket(socket.AF_UNIX)
        door.bind(str(path))
        door.listen()
        door.settimeout(PATIENCE_S)
        self._doors.append(door)
        return f" master = {sys.executable}\n master_args = -I -S {PUPPET} {path}\n"

    def write(self, lines: str) -> None:
        """Write the configuration anew."""
        usual = " bind = 127.0.0.1\n port = 0\n log_level = 2\n"
        self.config.write_text(f"service test\n{{\n{usual} {self._server}\n{lines}\n{self._lines}}}\n")

    def __enter__(self) -> Self:
        try:
            self.port = self.listening()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            finally:
                self.process.kill()
                self.process.wait()
        for each in (self.process.stdout, self.process.stderr, *self._doors):
            if each is not None:
                each.close()

    def listening(self) -> int:
        """The port that gfork says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        if not line.startswith("Listening on: "):
            raise AssertionError(f"{line}{self.log()}")
        return int(line.rpartition(":")[2])

    def master(self, number: int = 0) -> Puppet:
        """The master that has just been started at this place."""
        return Puppet(self._doors[number].accept()[0])

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def child(self) -> Puppet:
        return Puppet(self.dial())

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def log(self) -> str:
        """All that it has logged so far."""
        assert self.process.stderr is not None
        while more := self.process.stderr.read():
            self._log += more
        return self._log.decode()

    def logged(self, text: str) -> str:
        """Wait for a line with this text.  Returns the line."""
        assert self.process.stderr is not None
        end_s = time.monotonic() + PATIENCE_S
        while True:
            for line in self.log().splitlines(keepends=True):
                if text in line and line.endswith("\n"):
                    return line
            left_s = end_s - time.monotonic()
            ready = select.select([self.process.stderr], [], [], max(left_s, 0))[0]
            if not ready or (self.process.poll() is not None and text not in self.log()):
                raise AssertionError(f"{text!r} is not logged:\n{self.log()}")


def eventually(condition: Any) -> None:
    """Wait until the condition is true: for facts of the kernel, which sends no notice when they change."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, condition
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
