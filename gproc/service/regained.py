"""Says in the log which nodes are reached again: one line for many at once, because a rack may have hundreds."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from gproc.service.registry import Node, folded

GATHERED_S: Final = 0.25
"""Nodes that come by the same way within this time are told together."""

APART_MAX: Final = 4
"""Up to this number of nodes, each has a line of its own."""

log = logging.getLogger("gproc")


class Regained:
    def __init__(self) -> None:
        self._by_way: dict[str, list[Node]] = {}

    def note(self, node: Node, way: str) -> None:
        """way: how the sentence goes on after "is reached"."""
        if not self._by_way:
            asyncio.get_running_loop().call_later(GATHERED_S, self._tell)
        self._by_way.setdefault(way, []).append(node)

    def _tell(self) -> None:
        by_way, self._by_way = self._by_way, {}
        for way, nodes in by_way.items():
            if len(nodes) > APART_MAX:
                log.info("%d nodes are reached %s: %s", len(nodes), way, folded(nodes))
                continue
            for node in nodes:
                log.info("%s is reached %s", node, way)
