"""The cost of a job on its node, above a plain posix_spawn: CPU time of slave, launcher and init, and waiting time.

    python bench/spawn.py [--jobs 300] [--rounds 5]

Budget: at most 0.8 ms of CPU per job above posix_spawn by the static helper, 3 ms by the launcher in Python, with a
view (private binRoot, two unions, /proc).  The program is always /bin/true.  Each round runs all kinds, after one round
to warm up; the figures are medians of the rounds.  The kernel counts the CPU time of the Python launcher in ticks of
10 ms, so a round needs some hundred jobs.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from gproc.launch.launcher import Launcher

if __name__ == "__main__":
    # As in a slave, the fork comes before other imports.
    launchers = {"python": Launcher.for_this_node(native=False), "native": Launcher.for_this_node()}

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Callable

from gproc.launch.protocol import JobEnd, Start
from gproc.request.spec import Caller, Request
from gproc.root.view import MakeDirectory, Operation, Overlay, Proc, Tmpfs, View

TRUE = b"/bin/true"


def launcher_pid() -> int:
    """The only other process with our own command line."""
    with open("/proc/self/cmdline", "rb") as own:
        cmdline = own.read()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as other:
                    if other.read() == cmdline:
                        return int(name)
            except (FileNotFoundError, ProcessLookupError):
                continue
    raise SystemExit("no launcher found")


def cpu_s(pid: int) -> float:
    """User and system time of a process and the children it has waited for."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def own_cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def plain_spawns(count: int) -> None:
    for _ in range(count):
        os.waitpid(os.posix_spawn(TRUE, [TRUE], {}), 0)


def private_root(at: bytes, laid_out: bytes) -> tuple[Operation, ...]:
    upper, work = at + b"/upper", at + b"/work"
    return (
        Tmpfs(at),
        MakeDirectory(at, b"/upper"),
        MakeDirectory(at, b"/work"),
        Overlay((laid_out,), upper, work, at),
        MakeDirectory(at, b"/home/someone/work"),
        Proc(b"/proc"),
    )


def main(launchers: dict[str, Launcher]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    loop = asyncio.new_event_loop()
    for launcher in launchers.values():
        if not launcher.abilities.overlay:
            raise SystemExit(f"needs namespaces and overlayfs: {launcher.abilities.reason}")
        launcher.attach(loop)
    if because := launchers["native"].python_because:
        print(f"without the static helper: {because}")
        del launchers["native"]
    pid = launcher_pid()
    null = os.open("/dev/null", os.O_RDWR)
    request = Request(nodes=".", argv=(TRUE,))
    caller = Caller(os.getuid(), os.getgid(), ())

    def jobs(launcher: Launcher, view: View) -> Callable[[int], None]:
        def run(count: int) -> None:
            for number in range(count):
                ended: asyncio.Future[JobEnd] = loop.create_future()
                start = Start(number, request, caller, (), view)
                launcher.spawn(start, os.dup(null), os.dup(null), os.dup(null), ended.set_result)
                loop.run_until_complete(ended)

        return run

    with tempfile.TemporaryDirectory() as made:
        at, laid_out = os.fsencode(made) + b"/xproc", os.fsencode(made) + b"/laid_out"
        for directory in (at, laid_out, laid_out + b"/lib", laid_out + b"/bin"):
            os.mkdir(directory)
        unions = (
            Overlay((laid_out + b"/bin", b"/usr/bin"), b"", b"", b"/usr/bin"),
            Overlay((laid_out + b"/lib", b"/usr/lib"), b"", b"", b"/usr/lib"),
        )
        root = private_root(at, laid_out)
        views = {
            "pid namespace": View("namespaces", (Proc(b"/proc"),), TRUE, b"/"),
            "private root": View("namespaces", root, TRUE, at),
            "private root, two unions": View("namespaces", (*unions, *root), TRUE, at),
        }
        kinds = {"posix_spawn": plain_spawns} | {
            f"{name}, {init}": jobs(launcher, view)
            for name, view in views.items()
            for init, launcher in launchers.items()
        }
        cpu: dict[str, list[float]] = {name: [] for name in kinds}
        wall: dict[str, list[float]] = {name: [] for name in kinds}
        for turn in range(options.rounds + 1):
            for name, run in kinds.items():
                began, cpu_began = time.perf_counter(), own_cpu_s() + cpu_s(pid)
                run(options.jobs)
                if turn:
                    cpu[name].append((own_cpu_s() + cpu_s(pid) - cpu_began) / options.jobs * 1000)
                    wall[name].append((time.perf_counter() - began) / options.jobs * 1000)
    for launcher in launchers.values():
        launcher.close()
    yardstick = statistics.median(cpu["posix_spawn"])
    print(f"{'':34} {'CPU ms':>8} {'above':>8} {'wall ms':>8}   per job, median of {options.rounds}")
    for name in kinds:
        middle = statistics.median(cpu[name])
        print(f"{name:34} {middle:8.2f} {middle - yardstick:8.2f} {statistics.median(wall[name]):8.2f}")


if __name__ == "__main__":
    main(launchers)
