"""Much output from every node at once, thrown away at home: how fast, and how much memory each process takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bench import processes, yardsticks
from bench.figures import MB, Figure, Settings, Yardstick, samples
from bench.tree import Part, Tree, cpu_note

LINE: Final = "x" * 79
"""A line of a terminal's width, with its end 80 bytes."""


def measure(settings: Settings) -> Iterator[Figure]:
    size_bytes = settings.output_mb * 1_000_000
    program = f"yes {LINE} | head -c {size_bytes}"
    with Tree(1, settings.output_nodes) as tree:
        tree.run("e", "-localbin", "./.", "/bin/sh", "-c", program, keep=False)
        watched = [(part, pid) for _, part, pid in tree.processes()]
        for _, pid in watched:
            processes.forget_peak(pid)
        before = tree.cpu_times()
        done = [tree.run("e", "-localbin", "./.", "/bin/sh", "-c", program, keep=False) for _ in range(settings.runs)]
        cpu = cpu_note(tree, before, done)
        peaks: dict[Part | str, float] = {"client": max(one.peak_bytes for one in done) / MB}
        for part, pid in watched:
            peaks[part] = max(peaks.get(part, 0.0), processes.peak_bytes(pid) / MB)
        natively = [
            yardsticks.times(tree.size, f"sh -c '{program} | cat >/dev/null' {{}}") for _ in range(settings.runs)
        ]
        full_size = (settings.output_mb, tree.size) == (20, 16)  # the budget's own
        yield Figure(
            what=f"{settings.output_mb} MB of output from each of {tree.size} nodes", unit="s",
            measured=samples([one.wall_s for one in done]), budget=1.5 if full_size else None,
            yardstick=Yardstick("the same programs into cat, by xargs -P 2", samples(natively)),
            note=cpu,
        )  # fmt: skip
        highest = max(peaks, key=lambda part: peaks[part])
        yield Figure(
            what="the same, peak memory of the largest process", unit="MB", measured=samples([peaks[highest]]),
            budget=96, note=", ".join(f"{part} {peak:.0f}" for part, peak in sorted(peaks.items())),
        )  # fmt: skip
