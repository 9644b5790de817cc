"""The nodes as a tree of lines, of which only those that are seen are drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from gproc.client.tree import NodeStatus
from gproc.top.text import node_line

OPEN_AT_ONCE: Final = 100
"""With more nodes than these, racks begin closed."""


class NodeTree(Tree[str]):
    """Its lines have the places of nodes as data."""

    def __init__(self) -> None:
        super().__init__("master", id="tree")
        self.show_root = False
        self._here: dict[str, NodeStatus] = {}
        self._places: dict[str, TreeNode[str]] = {}

    def show(self, nodes: Sequence[NodeStatus]) -> None:
        """nodes: parents before children."""
        self._here = here = {node.node: node for node in nodes}
        masters = {name.rpartition("/")[0] for name in here}
        for name in [name for name in self._places if name not in here]:
            self._remove(name)
        for name, node in here.items():
            if name in self._places:
                continue
            if name in masters:
                for below in self._below(name):  # its parent was gone for a while
                    self._remove(below)
            above = self._places.get(name.rpartition("/")[0], self.root)
            above.allow_expand = True
            is_open = name in masters and len(nodes) <= OPEN_AT_ONCE
            self._places[name] = above.add(
                node_line(node), data=name, expand=is_open, allow_expand=name in masters
            )  # fmt: skip
        self.draw_seen()

    def draw_seen(self) -> None:
        """Give the lines that are seen their present texts.  Each costs a message: 5,000 of them took 3 s."""
        for number in range(self.scroll_offset.y, self.scroll_offset.y + self.size.height):
            place = self.get_node_at_line(number)
            node = None if place is None or place.data is None else self._here.get(place.data)
            if place is not None and node is not None and place.label != (line := node_line(node)):
                place.set_label(line)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.draw_seen()

    def on_tree_node_expanded(self) -> None:
        self.call_after_refresh(self.draw_seen)

    def _below(self, name: str) -> list[str]:
        return [each for each in self._places if each.startswith(f"{name}/")]

    def _remove(self, name: str) -> None:
        """Remove a line.  Those below it go with it, and come again where they are now."""
        place = self._places.pop(name, None)
        if place is not None:
            for below in self._below(name):
                del self._places[below]
            place.remove()
