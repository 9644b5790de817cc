"""What the lab's links and this machine allow without gproc: all hosts send the payload to the next one at once.

Plain TCP without TLS and disk; nothing is checked or passed on.  So `links` cannot come nearer to payload / rate.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

from bench import processes
from bench.figures import MIB, Figure, Settings, samples
from bench.lab import Lab, LabFailed
from bench.links import RUNS, Layout

_FLOW: Final = """
import socket, sys, threading
address, size = sys.argv[1], int(sys.argv[2])
portion = bytearray(128 << 10)
listener = socket.create_server(("", 7000), backlog=1)
print("up", flush=True)
for _ in sys.stdin:
    out = socket.create_connection((address, 7000))
    here, _ = listener.accept()
    here.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 64 << 10)

    def send():
        for _ in range(0, size, len(portion)):
            out.sendall(portion)
        out.close()

    sender = threading.Thread(target=send)
    sender.start()
    received = memoryview(bytearray(len(portion)))
    while here.recv_into(received):
        pass
    sender.join()
    here.close()
    print("done", flush=True)
"""


def measure(settings: Settings) -> Iterator[Figure]:
    """Raises: NoLab if there can be none; LabFailed if a host does not answer."""
    size_bytes = settings.lab_mib * MIB
    least_s = size_bytes * 8 / (settings.lab_mbit * 1e6)
    for hosts in settings.lab_hosts:
        layout = Layout("flat", hosts, 1)
        with Lab(layout.names(), settings.lab_mbit) as lab:
            flows = _flows(lab, layout.names(), size_bytes)
            try:
                times, busy, cpu_s = [], [], []
                for _ in range(min(RUNS, settings.runs)):
                    idle, began_s = processes.machine_time(), time.monotonic()
                    _wait_for_all(flows, "done", command="go")
                    times.append(time.monotonic() - began_s)
                    busy.append(processes.machine_time().busy_since(idle))
                    cpu_s.append(busy[-1] * times[-1] * (os.cpu_count() or 1))
            finally:
                for flow in flows:
                    flow.kill()
                    flow.communicate()
        yield Figure(
            what=f"{settings.lab_mib} MiB from each of {hosts} hosts to the next at {settings.lab_mbit} Mbit/s, "
            "plain TCP, time / (payload / rate)",
            unit="x", measured=samples([took_s / least_s for took_s in times]),
            note=f"processors {max(busy):.0%} busy; {sorted(cpu_s)[len(cpu_s) // 2] / hosts * 1000:.0f} ms per host",
        )  # fmt: skip


def _flows(lab: Lab, names: list[str], size_bytes: int) -> list[subprocess.Popen[str]]:
    flows = [
        subprocess.Popen(
            [*lab.entry(name), sys.executable, "-c", _FLOW, lab.address(following), str(size_bytes)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name, following in zip(names, [*names[1:], names[0]], strict=True)
    ]  # fmt: skip
    _wait_for_all(flows, "up")
    return flows


def _wait_for_all(flows: list[subprocess.Popen[str]], word: str, command: str = "") -> None:
    """Send each flow a command, and wait until each has printed the word."""
    for flow in flows:
        if command and flow.stdin is not None:
            flow.stdin.write(f"{command}\n")
            flow.stdin.flush()
    for flow in flows:
        assert flow.stdout is not None
        if flow.stdout.readline() != f"{word}\n":
            raise LabFailed("a host did not send or receive")
