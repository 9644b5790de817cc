"""What master and slaves do alike: keep children, know the tree below, pass jobs between above and below."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from gproc.errors import PeerError
from gproc.relay.children import Child, Children, Turned
from gproc.relay.passage import Below, Passage
from gproc.store.draft import Owner
from gproc.store.supply import Supply
from gproc.tree import Tree
from gproc.wire import messages
from gproc.wire.messages import Arrived, Branch, Join, Left

if TYPE_CHECKING:
    import ssl

    from gproc.store.store import Store

log = logging.getLogger("gproc")


class Hub:
    """A node of the tree, seen from below.  `tree` holds the nodes below this one, by their path from here."""

    def __init__(self, store: Store, context: ssl.SSLContext, link_timeout_s: float) -> None:
        self.tree = Tree()
        self.passages: dict[int, Passage] = {}
        self.supply = Supply(store, self.ask_above)
        self.children = Children(self, context, link_timeout_s)
        self.own = Owner(os.geteuid(), os.getegid())
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # For those who are more than a hub

    def tell(self, change: Arrived | Left) -> None:
        """The tree below has changed; `tree` shows it already."""
        raise NotImplementedError

    def ask_above(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        """Ask for chunks of a bundle.  Raises: StoreError where there is nobody to ask."""
        raise NotImplementedError

    def child_load(self, message: messages.Load) -> None:
        """A load that was polled, with routes from here."""
        raise NotImplementedError

    # What children bring: `relay.children.Household`

    def admit(self, join: Join) -> int:
        if join.id is None:
            return self.children.free_id()
        holder = self.children.by_id.get(join.id)
        if holder is None:
            return join.id
        if not join.explicit_id:
            return self.children.free_id()
        # It may be the newcomer's own former self, whose end we have not noticed yet: so not for good.
        raise Turned(f"id {join.id} is taken by {holder.node.name} at {holder.node.address}", final=False)

    def child_arrived(self, child: Child) -> None:
        log.info("node %d joined: %s at %s", child.id, child.node.name, child.node.address)
        self.tree.arrive((child.id,), child.node)
        self.tell(Arrived((child.id,), child.node))

    def child_left(self, child: Child, reason: str) -> None:
        self.children.remove(child)
        log.info("node %d left: %s at %s: %s", child.id, child.node.name, child.node.address, reason)
        for passage in list(self.passages.values()):
            passage.left(child, reason)
        if self.tree.leave((child.id,)):
            self.tell(Left((child.id,), reason))

    def child_said(self, child: Child, message: messages.AnyMessage) -> None:
        match message:
            case messages.Finished(job, rank, outcome):
                if (passage := self.passages.get(job)) is not None:
                    passage.finished(child, rank, outcome)
            case messages.Credit(job, _, size):
                if (passage := self.passages.get(job)) is not None:
                    passage.credit_from_below(child, size)
            case messages.Arrived(route, node):
                self.tree.arrive((child.id, *route), node)
                self.tell(Arrived((child.id, *route), node))
            case messages.Left(route, reason):
                self.tree.leave((child.id, *route))
                self.tell(Left((child.id, *route), reason))
            case messages.Load(serial, loads):
                self.child_load(messages.Load(serial, tuple(((child.id, *route), load) for route, load in loads)))
            case _:
                raise PeerError(f"{type(message).__name__} from a child")

    def child_output(self, child: Child, job: int, rank: int, stream: int, data: memoryview) -> None:
        passage = self.passages.get(job)
        if passage is not None:
            passage.output(child, rank, stream, data)

    async def chunk(self, bundle: bytes, digest: bytes) -> bytes:
        return await self.supply.chunk(bundle, digest, self.own)

    # What goes down

    def parts(self, subtree: dict[int, Branch]) -> tuple[dict[Below, Branch], list[Branch]]:
        """A job's branches by the children that they are for; and those whose child is not there."""
        here: dict[Below, Branch] = {}
        absent = []
        for id, branch in subtree.items():
            child = self.children.by_id.get(id)
            if child is not None and child.arrived:
                here[child] = branch
            else:
                absent.append(branch)
        return here, absent

    def send_grant(self, route: tuple[int, ...], grant: messages.Signed) -> None:
        child = self.children.by_id.get(route[0])
        if child is not None:
            child.link.send(messages.Granted(route[1:], grant))

    def poll(self, serial: int) -> None:
        for child in self.children:
            child.link.send(messages.Poll(serial))

    def release(self, job: int) -> None:
        passage = self.passages.pop(job, None)
        if passage is not None:
            passage.release()

    def end(self) -> None:
        """Let `over` be over."""
        if not self.over.done():
            self.over.set_result(None)
