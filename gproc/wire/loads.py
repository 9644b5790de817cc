"""How busy the nodes are: the question that goes down the tree, and the answers that come up.  Pure."""

from __future__ import annotations

from gproc.wire.branch import Load1, Number
from gproc.wire.messages import MemorySize, Message, Route
from gproc.wire.tags import tag_of


class Poll(Message, frozen=True, tag=tag_of):
    """Asks every node below for its load."""

    serial: Number


class Load(Message, frozen=True, tag=tag_of):
    """Answers a poll: loads and memory by route."""

    serial: Number
    loads: tuple[tuple[Route, Load1], ...]
    memory: tuple[tuple[Route, MemorySize], ...] = ()
