"""Much output from every node at once to /dev/null: its time, and the memory of each process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Final

from bench import processes, yardsticks
from bench.checkout import Checkout
from bench.figures import MB, Figure, Settings, Yardstick, samples
from bench.tree import Done, Part, Tree, cpu_note
from bench.trial import Reading, Step, Trial, timed_with_peaks

LINE: Final = "x" * 79
"""A line of a terminal's width: 80 bytes with the newline."""


def measure(settings: Settings) -> Iterator[Figure]:
    program = _program(settings)
    with Tree(1, settings.output_nodes) as tree:
        _output(tree, program)
        watched = [(part, pid) for _, part, pid in tree.processes()]
        for _, pid in watched:
            processes.forget_peak(pid)
        before = tree.cpu_times()
        done = [_output(tree, program) for _ in range(settings.runs)]
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


def _program(settings: Settings) -> str:
    return f"yes {LINE} | head -c {settings.output_mb * 1_000_000}"


def _output(tree: Tree, program: str) -> Done:
    return tree.run("e", "-localbin", "./.", "/bin/sh", "-c", program, keep=False)


@contextlib.contextmanager
def _steps(checkout: Checkout, settings: Settings) -> Iterator[Sequence[Step]]:
    with Tree(1, settings.output_nodes, checkout=checkout) as tree:
        program = _program(settings)
        _output(tree, program)

        def output() -> list[Reading]:
            what = f"{settings.output_mb} MB of output from each of {tree.size} nodes"
            return timed_with_peaks(tree, what, lambda: _output(tree, program))

        yield (output,)


TRIAL: Final = Trial(_steps, turns=20, turns_of_a_tree=4)
