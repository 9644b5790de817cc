"""Many short tasks: `gproc map` on 8 nodes beside GNU parallel and xargs with 8 slots, in turns, in the same run."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Final

from bench.figures import MB, Figure, Samples, Settings, Yardstick, samples
from bench.tree import Tree, cpu_since

NODES: Final = 8
TRUE: Final = "/bin/true"
ROUNDS: Final = 3
SPAWNS: Final = 500

OTHERS: Final = {
    "GNU parallel": ("parallel", "--will-cite", "-j", str(NODES), "-a", "{list}", TRUE),
    "xargs -P": ("xargs", "-P", str(NODES), "-n", "1", "-a", "{list}", TRUE),
}
"""The yardsticks, if they are installed."""

NAMES: Final = {"rack": "slaves", "job": "inits and tasks"}
"""What a table of tasks calls the parts of this flat tree."""


def measure(settings: Settings) -> Iterator[Figure]:
    count = settings.tasks
    rounds = ROUNDS if settings.runs > 2 else 1
    with Tree(NODES, 1) as tree:
        few, many = f"{tree.place}/few", f"{tree.place}/many"
        for path, size in ((few, max(1, count // 10)), (many, count)):
            with open(path, "w") as listed:
                listed.writelines(f"{number}\n" for number in range(size))
        tree.run("map", "-j", "1", "-a", few, f"1-{NODES}", TRUE)  # packs the program
        small = tree.run("map", "-j", "1", "-a", few, f"1-{NODES}", TRUE)
        ours: dict[str, list[float]] = {"1": [], "2": []}
        cpu_ms: dict[str, list[float]] = {}
        spawns: list[float] = []
        peaks: list[float] = []
        others: dict[str, list[float]] = {name: [] for name, words in OTHERS.items() if shutil.which(words[0])}
        for _ in range(rounds):
            for slots, found in ours.items():
                before = tree.cpu_times()
                done = tree.run("map", "-j", slots, "-a", many, f"1-{NODES}", TRUE)
                found.append(done.wall_s * 1000 / count)
                if slots == "1":
                    for part, ms in cpu_since(tree, before, [done]).items():
                        cpu_ms.setdefault(part, []).append(ms / count)
                    peaks.append(done.peak_bytes / MB)
            for name, found in others.items():
                found.append(_other_s(OTHERS[name], many) * 1000 / count)
            spawns.append(_spawned_s(min(SPAWNS, count)) * 1000)
        each = {part: samples(found).median for part, found in cpu_ms.items()}
        parts = ", ".join(f"{NAMES.get(part, part)} {ms:.2f}" for part, ms in each.items())
        cpu = f"CPU ms {sum(each.values()):.2f}: {parts}; one posix_spawn: {samples(spawns).median:.2f} ms"
        parallel = _yardstick("GNU parallel", others)
        yield Figure(
            what=f"{count} tasks {TRUE} by `map -j 1` on {NODES} nodes, per task", unit="ms",
            measured=samples(ours["1"]), yardstick=parallel, budget=2, note=cpu,
        )  # fmt: skip
        yield Figure(
            what="the same with -j 2", unit="ms", measured=samples(ours["2"]), yardstick=_yardstick("xargs -P", others),
        )  # fmt: skip
        before_mb = small.peak_bytes / MB
        yield Figure(
            what="the same, peak memory of the client", unit="MB", measured=samples(peaks),
            yardstick=Yardstick("a tenth of the tasks", samples([before_mb])),
        )  # fmt: skip


def _spawned_s(count: int) -> float:
    """The time of one task that a single process starts and waits for, one after the other."""
    began_s = time.perf_counter()
    for _ in range(count):
        os.waitpid(os.posix_spawn(TRUE, [TRUE], {}), 0)
    return (time.perf_counter() - began_s) / count


def _other_s(words: Sequence[str], listed: str) -> float:
    began_s = time.perf_counter()
    subprocess.run([word.format(list=listed) for word in words], check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began_s


def _yardstick(name: str, others: dict[str, list[float]]) -> Yardstick | None:
    return Yardstick(name, Samples(tuple(others[name]))) if others.get(name) else None
