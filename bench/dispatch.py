"""`gproc e ./. /bin/date`: the whole command, on every node, warm and cold, with CPU time by kind of process."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Final

from bench import yardsticks
from bench.checkout import Checkout
from bench.figures import MB, Figure, Settings, Yardstick, samples
from bench.payload import DATE, cold_root, size_of
from bench.tree import Done, Tree, TreeFailed, cpu_note
from bench.trial import Reading, Step, Trial, timed

WARM_UPS: Final = 3


def measure(settings: Settings) -> Iterator[Figure]:
    with Tree(settings.racks, settings.rack_size) as tree:
        _warm_up(tree)
        warm = []
        before = tree.cpu_times()
        for _ in range(settings.runs):
            warm.append(_date(tree))
        cpu = cpu_note(tree, before, warm)
        natively = Yardstick(
            f"{DATE} {tree.size} times by xargs -P 2",
            samples([yardsticks.times(tree.size, DATE) for _ in range(settings.runs)]),
        )
        full_size = tree.size == 80  # the budgets' own
        yield Figure(
            what=f"e ./. {DATE}, {tree.size} nodes, warm", unit="s", measured=samples([done.wall_s for done in warm]),
            budget=0.22 if full_size else None, yardstick=natively, note=cpu,
        )  # fmt: skip

        for name, pack_first, budget in (("cold nodes", True, 0.45), ("cold nodes and client", False, None)):
            cold = []
            size = 0
            before = tree.cpu_times()
            for run in range(settings.runs):
                root = cold_root(f"{tree.place}/{name.replace(' ', '-')}.{run}")
                size = size_of(root)
                if pack_first:
                    _pack(tree, root)
                cold.append(_date(tree, "-r", root))
            yield Figure(
                what=f"e ./. {DATE}, {tree.size} nodes, {name} ({size / MB:.1f} MB)", unit="s",
                measured=samples([done.wall_s for done in cold]), yardstick=natively,
                budget=budget if full_size else None, note=cpu_note(tree, before, cold),
            )  # fmt: skip


def _warm_up(tree: Tree) -> None:
    for _ in range(WARM_UPS):
        _date(tree)


def _pack(tree: Tree, root: str) -> None:
    """Put the program into the client's cache: the client packs it before the master refuses the unknown node."""
    tree.run("e", "-r", root, "=1/999999", DATE, status=125)


def _date(tree: Tree, *switches: str) -> Done:
    done = tree.run("e", *switches, "./.", DATE)
    lines = done.output.count(b"\n")
    if lines != tree.size:
        raise TreeFailed(f"{tree.size} nodes gave {lines} lines")
    return done


@contextlib.contextmanager
def _steps(checkout: Checkout, settings: Settings) -> Iterator[Sequence[Step]]:
    with Tree(settings.racks, settings.rack_size, checkout=checkout) as tree:
        _warm_up(tree)
        what = f"e ./. {DATE}, {tree.size} nodes"

        def warm() -> list[Reading]:
            return timed(tree, f"{what}, warm", lambda: _date(tree))

        def cold() -> list[Reading]:
            root = cold_root(tempfile.mkdtemp(dir=tree.place))
            _pack(tree, root)
            readings = timed(tree, f"{what}, cold nodes", lambda: _date(tree, "-r", root))
            shutil.rmtree(root)
            return readings

        def cold_client() -> list[Reading]:
            root = cold_root(tempfile.mkdtemp(dir=tree.place))
            readings = timed(tree, f"{what}, cold nodes and client", lambda: _date(tree, "-r", root))
            shutil.rmtree(root)
            return readings

        yield warm, cold, cold_client


TRIAL: Final = Trial(_steps, turns=20, turns_of_a_tree=5)
