"""One large file to many nodes on this machine, cold and warm, and the memory for it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Final

from bench import processes, yardsticks
from bench.checkout import Checkout
from bench.cleanup import temporary_directory
from bench.figures import MB, Figure, Samples, Settings, Yardstick, samples
from bench.payload import DATE, cold_root, random_file
from bench.tree import Done, Part, Tree, TreeFailed, cpu_note
from bench.trial import Reading, Step, Trial, timed, timed_with_peaks

RUNS: Final = 3
"""Each cold run writes the payload to every node's store: 4 GB at full size."""


def measure(settings: Settings) -> Iterator[Figure]:
    """Raises: TreeFailed, also if the payload of a cold run did not reach every node over the network."""
    racks, rack_size = _shape(settings)
    runs = min(RUNS, settings.runs)
    size_bytes = settings.payload_mb * 1_000_000
    with Tree(racks, rack_size) as tree:
        tree.run("e", "./.", DATE)
        watched = [(part, pid) for _, part, pid in tree.processes()]
        for _, pid in watched:
            processes.forget_peak(pid)
        cold: list[Done] = []
        warm: list[Done] = []
        natively = []
        before = tree.cpu_times()
        for run in range(runs):
            root = _payload(tree, run, size_bytes)
            cold.append(_send_cold(tree, root, size_bytes))
            warm += [_send(tree, root) for _ in range(2)]
            natively.append(_copies(f"{root}/payload", tree.size))
        cpu = cpu_note(tree, before, cold)
        peaks: dict[Part | str, float] = {"client": max(done.peak_bytes for done in cold) / MB}
        for part, pid in watched:
            peaks[part] = max(peaks.get(part, 0.0), processes.peak_bytes(pid) / MB)
        full_size = (settings.payload_mb, tree.size) == (100, 40)  # the budget's own
        copied = Yardstick(f"{tree.size} copies by dd, two at a time", samples(natively))
        what = f"{settings.payload_mb} MB by -f to {tree.size} nodes"
        yield Figure(
            what=f"{what}, cold", unit="s", measured=_walls(cold), budget=3 if full_size else None, yardstick=copied,
            note=f"{cpu}, with two warm runs",
        )  # fmt: skip
        yield Figure(what=f"{what}, warm", unit="s", measured=_walls(warm), yardstick=copied)
        highest = max(peaks, key=lambda part: peaks[part])
        yield Figure(
            what=f"{what}, peak memory of the largest process", unit="MB", measured=samples([peaks[highest]]),
            note=", ".join(f"{part} {peak:.0f}" for part, peak in sorted(peaks.items())),
        )  # fmt: skip


def _shape(settings: Settings) -> tuple[int, int]:
    """The number of racks, and the size of each."""
    rack_size = min(settings.rack_size, settings.transfer_nodes)
    return settings.transfer_nodes // rack_size, rack_size


def _payload(tree: Tree, run: int, size_bytes: int) -> str:
    """A root of its own with a new payload.  No node has a file at its path in the bundle, /payload."""
    root = cold_root(f"{tree.place}/root.{run}")
    random_file(f"{root}/payload", size_bytes)
    return root


def _send(tree: Tree, root: str) -> Done:
    return tree.run("e", "-r", root, "-f", "/payload", "./.", DATE)


def _send_cold(tree: Tree, root: str, size_bytes: int) -> Done:
    sent = processes.loopback_bytes()
    done = _send(tree, root)
    sent = processes.loopback_bytes() - sent
    if sent < size_bytes * tree.size:
        raise TreeFailed(f"{sent} bytes went over the loopback interface, less than a payload for each node")
    return done


def _walls(runs: list[Done]) -> Samples:
    return samples([done.wall_s for done in runs])


def _copies(path: str, count: int) -> float:
    """The time for `count` copies of a file, on the file system of the stores, after the payload was read once."""
    with temporary_directory() as place:
        command = f"dd if={path} of={os.path.join(place, '{}')} bs=1M status=none"
        return yardsticks.times(count, command)


@contextlib.contextmanager
def _steps(checkout: Checkout, settings: Settings) -> Iterator[Sequence[Step]]:
    size_bytes = settings.payload_mb * 1_000_000
    with Tree(*_shape(settings), checkout=checkout) as tree:
        tree.run("e", "./.", DATE)
        what = f"{settings.payload_mb} MB by -f to {tree.size} nodes"
        roots: list[str] = []

        def cold() -> list[Reading]:
            roots.append(_payload(tree, len(roots), size_bytes))
            return timed_with_peaks(tree, f"{what}, cold", lambda: _send_cold(tree, roots[-1], size_bytes))

        def warm() -> list[Reading]:
            readings = timed(tree, f"{what}, warm", lambda: _send(tree, roots[-1]))
            shutil.rmtree(roots[-1])
            return readings

        yield cold, warm


TRIAL: Final = Trial(_steps, turns=8, turns_of_a_tree=1)
"""With one turn for each tree, its stores never hold more than one payload for each node: 4 GB, on each side."""
