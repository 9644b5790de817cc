"""The tree of nodes, as a widget of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from textual.app import App, ComposeResult
from textual.widgets.tree import TreeNode

from gproc.client.tree import NodeStatus
from gproc.top.node_tree import NodeTree


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        yield NodeTree()


def shown(drive: Callable[[NodeTree, Any], Awaitable[None]]) -> None:
    async def run() -> None:
        app = Shown()
        async with app.run_test(size=(80, 24)) as pilot:
            await drive(app.query_one(NodeTree), pilot)

    asyncio.run(run())


def nodes(names: Iterable[str], load: float = 1.0) -> list[NodeStatus]:
    return [NodeStatus(name, f"kn{name}", "", "up", "", 0, load, 0.0) for name in names]


def below(place: TreeNode[str]) -> dict[str | None, Any]:
    return {each.data: below(each) for each in place.children}


def test_nodes_whose_rack_has_gone_are_still_there() -> None:
    """They vanished with their rack's line, and did not come back with it."""

    async def drive(places: NodeTree, _pilot: Any) -> None:
        places.show(nodes(("1", "1/1", "1/2", "2")))
        assert below(places.root) == {"1": {"1/1": {}, "1/2": {}}, "2": {}}
        places.show(nodes(("1/1", "1/2", "2")))
        assert below(places.root) == {"2": {}, "1/1": {}, "1/2": {}}
        places.show(nodes(("1", "1/1", "1/2", "2")))
        assert below(places.root) == {"2": {}, "1": {"1/1": {}, "1/2": {}}}

    shown(drive)


def test_a_look_at_thousands_of_nodes_costs_what_is_seen_of_them() -> None:
    """Each look at 5,000 nodes held up all keys for seconds."""
    names = [name for rack in range(1, 101) for name in (str(rack), *(f"{rack}/{node}" for node in range(1, 51)))]

    async def drive(places: NodeTree, pilot: Any) -> None:
        places.show(nodes(names))
        await pilot.pause()
        places.show(nodes(names, load=7.0))
        assert places.size.height == 24
        assert [rack.data for rack in places.root.children if "load 7.00" in str(rack.label)] == names[: 24 * 51 : 51]
        places.scroll_end(animate=False)
        await pilot.pause()
        assert "load 7.00" in str(places.root.children[99].label)
        places.root.children[99].expand()
        places.scroll_end(animate=False)
        await pilot.pause()
        assert "load 7.00" in str(places.root.children[99].children[49].label)

    shown(drive)
