"""`python -m bench.superserver [GFORK]`: what a connection costs gfork, or another gfork: GFORK is its path.

Each client connects, sends a line to /bin/cat, waits for it, and hangs up.  Figures are in docs/gfork.md.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

CONNECTIONS: Final = 1000
CLIENTS: Final = 8
MASTER: Final = "import os; fd = int(os.environ['GFORK_CHILD_READ_ENV'])\nwhile os.read(fd, 65536): pass"
OURS: Final = (sys.executable, "-m", "gproc.adapters.gfork")


def main(words: list[str]) -> None:
    program = tuple(words) or OURS
    with tempfile.TemporaryDirectory() as place:
        script = Path(place, "master.py")
        script.write_text(MASTER)
        master = f" master = {sys.executable}\n master_args = -I {script}\n"
        for title, lines in (("no master", ""), ("a master", master)):
            config = Path(place, "gfork.conf")
            config.write_text(f"service b\n{{\n port = 0\n instances = 2000\n server = /bin/cat\n{lines}}}\n")
            measure(title, [*program, "-c", str(config)])


def measure(title: str, command: list[str]) -> None:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        port = int(daemon.stdout.readline().rpartition(":")[2])
        one_by_one = timed(port, 1, CONNECTIONS // CLIENTS)
        before = held(daemon.pid)
        at_once = timed(port, CLIENTS, CONNECTIONS)
        time.sleep(1)
        fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
        cpu_ms = (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK") / (CONNECTIONS * 9 / 8)
        print(
            f"{title}: one by one {one_by_one:.0f}/s, {CLIENTS} clients {at_once:.0f}/s, "
            f"{cpu_ms:.2f} ms of CPU each, descriptors {before} before and {held(daemon.pid)} after, "
            f"zombies {zombies(daemon.pid)}"
        )
        daemon.terminate()
        time.sleep(0.5)
        daemon.kill()


def timed(port: int, clients: int, connections: int) -> float:
    """Connections in a second."""

    def serve_each() -> None:
        for _ in range(connections // clients):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"x\n")
                client.recv(100)
                client.shutdown(socket.SHUT_WR)
                client.recv(100)

    threads = [threading.Thread(target=serve_each) for _ in range(clients)]
    start_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return connections / (time.perf_counter() - start_s)


def held(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def zombies(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z" for child in children)


if __name__ == "__main__":
    main(sys.argv[1:])
