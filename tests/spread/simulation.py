"""A simulated broadcast: a payload goes through links of given rates, in steps of time."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import TypeVar

from gproc.spread.trees import BroadcastTrees

PIECE_BYTES = 128 << 10
PAYLOAD_BYTES = 16 << 20
LINK_BYTES_PER_S = 50e6 / 8
STEP_S = 0.02
REPORT_S = 0.2
CONNECT_S = 0.1

Rates = dict[int | None, float]
DownRates = dict[int, float]
N = TypeVar("N", int, int | None)
Edge = tuple[int | None, int, int]


class SimulatedBroadcast:
    """One payload from a parent through its children, as a fluid in time steps.

    up, down: bytes per second of each link; None is the parent's.  An edge has its max-min fair share of both its
    links.  Nodes pass on whole pieces.  A new edge takes `CONNECT_S` to connect.
    silent: children that never report after the start.  wander: rates change at random by up to this fraction.
    """

    def __init__(
        self, up: Rates, down: DownRates, *, slow: Collection[int] = (), silent: Collection[int] = (),
        wander: float = 0.0, seed: int = 0, payload_bytes: int = PAYLOAD_BYTES,
    ) -> None:  # fmt: skip
        self.up, self.down = up, down
        self.trees: BroadcastTrees[int] = BroadcastTrees(sorted(down), slow)
        self.sources = {child: self.trees.sources_of(child) for child in down}
        self.stripe_bytes = payload_bytes // 2
        self.have = {child: [0.0, 0.0] for child in down}
        self.done_s: dict[int, float] = {}
        self.found: set[int] = set()
        self._ready_s: defaultdict[tuple[int, int], float] = defaultdict(float)
        self._random = random.Random(seed)
        self._silent = silent
        self._wander = wander
        self._now_s = 0.0
        self._due_s = {child: self._random.uniform(0, REPORT_S) for child in down}
        for child in down:
            self._report(child)

    def run(self, limit_s: float = 60.0) -> SimulatedBroadcast:
        """Run until every child has everything, but not longer than `limit_s` of simulated time."""
        step = 0
        while len(self.done_s) < len(self.down) and self._now_s < limit_s:
            if step % 15 == 0:
                up, down = self._vary(self.up), self._vary(self.down)
            step += 1
            self._now_s = step * STEP_S
            self._flow(up, down)
            for child in self.down.keys() - self.done_s.keys():
                if min(self.have[child]) >= self.stripe_bytes:
                    self.done_s[child] = self._due_s[child] = self._now_s
                if self._now_s >= self._due_s[child] and child not in self._silent:
                    self._due_s[child] = self._now_s + REPORT_S
                    self._report(child)
            if step % 5 == 0:
                self._review()
        return self

    def last_s(self, but: Collection[int] = ()) -> float:
        return max(self.done_s[child] for child in self.down if child not in but)

    def _vary(self, rates: dict[N, float]) -> dict[N, float]:
        return {end: rate * (1 + self._random.uniform(-self._wander, self._wander)) for end, rate in rates.items()}

    def _report(self, child: int) -> None:
        left = tuple(self.stripe_bytes - int(self._whole(child, stripe)) for stripe in (0, 1))
        self.trees.report(child, left, self._now_s)

    def _review(self) -> None:
        known = self.trees.slow
        for child, sources in self.trees.review(self._now_s).items():
            for stripe in (0, 1):
                if sources[stripe] != self.sources[child][stripe]:
                    self._ready_s[child, stripe] = self._now_s + CONNECT_S
                    self.have[child][stripe] = self._whole(child, stripe)
            self.sources[child] = sources
        self.found |= self.trees.slow - known

    def _whole(self, node: int | None, stripe: int) -> float:
        """The bytes of whole pieces, which a node can pass on."""
        if node is None or self.have[node][stripe] >= self.stripe_bytes:
            return self.stripe_bytes
        return self.have[node][stripe] // PIECE_BYTES * PIECE_BYTES

    def _flow(self, up: Rates, down: DownRates) -> None:
        edges = {
            (source, child, stripe): whole
            for child, sources in self.sources.items()
            for stripe, source in enumerate(sources)
            if (whole := self._whole(source, stripe)) > self.have[child][stripe]
            and self._ready_s[child, stripe] <= self._now_s
        }
        for (source, child, stripe), rate in fair_shares(list(edges), up, down).items():
            reached = self.have[child][stripe] + rate * STEP_S
            self.have[child][stripe] = min(edges[source, child, stripe], reached)


def fair_shares(edges: list[Edge], up: Rates, down: Mapping[int, float]) -> dict[Edge, float]:
    """Max-min fair rates: all edges grow alike, and an edge stops when one of its links is full."""
    room: dict[tuple[str, int | None], float] = {("up", end): rate for end, rate in up.items()}
    room |= {("down", end): rate for end, rate in down.items()}
    rates: dict[Edge, float] = {}
    while edges:
        using = Counter(link for source, child, _ in edges for link in (("up", source), ("down", child)))
        level = min(room[link] / users for link, users in using.items())
        full = {link for link, users in using.items() if room[link] / users <= level * (1 + 1e-9)}
        fixed = [edge for edge in edges if ("up", edge[0]) in full or ("down", edge[1]) in full]
        for edge in fixed:
            rates[edge] = level
            room["up", edge[0]] -= level
            room["down", edge[1]] -= level
        edges = [edge for edge in edges if edge not in rates]
    return rates


def links(count: int, slow: Collection[int] = (), part: float = 0.1, slow_way: str = "both") -> tuple[Rates, DownRates]:
    """Rates of links up and down: all equal, except that slow children have a fraction, both ways or one way."""
    up: Rates = dict.fromkeys([None, *range(count)], LINK_BYTES_PER_S)
    down: DownRates = dict.fromkeys(range(count), LINK_BYTES_PER_S)
    for child in slow:
        if slow_way in ("both", "up"):
            up[child] *= part
        if slow_way in ("both", "down"):
            down[child] *= part
    return up, down
