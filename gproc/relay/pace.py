"""Bounds how often the nodes below one child come and go, and ask for leases.

The master signs a grant for each node that comes, and writes a record of it.  What children of a rack master say goes
up on one connection, which the whole rack shares.  So a child that says such things without end is read more slowly.

The allowances halve with each level, as `belonging.most_below` does: what one child may say is half of what the parent
may say to its own parent, and does not use up what the other children need.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from gproc.link.allowance import Allowance
from gproc.relay.belonging import most_below
from gproc.relay.lease_questions import LeaseQuestions
from gproc.wire.messages import NodeInfo, Route

CHANGES_OF_NODE: Final = 4
"""Changes at once, for each node that may be below a child: all of them come, go, come elsewhere, and go again."""

CHANGES_PART: Final = 32
"""Divides the number of nodes that a child may have: so many may come or go each second, without end.  For a child of
the master that is 512, which costs the master a twentieth of a processor."""

CHANGES_S_LEAST: Final = 16
"""Each second, of a child of any node."""

QUESTIONS_PART: Final = 8
"""The part of the nodes that may be below a child which may ask for a lease each second.  They ask each 15 s."""

QUESTIONS_S_LEAST: Final = 32
"""Each second, of a child of any node: with the shortest lease, 16 nodes ask so often."""

HOSTS_MAX: Final = 20_000
"""Hosts that are counted at a time; for others the count begins anew.  Certificates are of hosts, so a host cannot have
many names."""


def _now_s() -> float:
    return time.monotonic()


class PacedChild(Protocol):
    """A child of this node."""

    @property
    def node(self) -> NodeInfo: ...

    @property
    def link(self) -> PacedLink: ...


class PacedLink(Protocol):
    def hold(self, may_go_on: Callable[[], bool]) -> None: ...


class ChildPace:
    """Counts by the name in a child's certificate, so a child that connects again has no new allowance.

    A child with the certificate of this node itself is not bounded: it could be this node.  So thousands of slaves of
    one machine may share a certificate.
    """

    def __init__(
        self, own_name: str, level: Callable[[], int], is_behind: Callable[[], bool],
        clock_s: Callable[[], float] = _now_s,
    ) -> None:  # fmt: skip
        """level: of this node; the master's is 0.  is_behind: whether much of what was sent upstream is still here."""
        self._own_name = own_name
        self._level = level
        self._is_behind = is_behind
        self._clock_s = clock_s
        self._hosts: OrderedDict[tuple[str, int], tuple[Allowance, Allowance]] = OrderedDict()
        self._of_nodes = LeaseQuestions()

    def changed(self, child: PacedChild) -> None:
        """A child has said that a node is there, or is gone: it is not read while it may say no more of that."""
        name = child.node.name
        if name != self._own_name:
            self._of(name)[0].take()
        if not self.may_change(name):
            child.link.hold(lambda: self.may_change(name))

    def may_change(self, name: str) -> bool:
        """Whether a child of this name may say so, or a node of this name may become a child, now.

        That this node is behind does not count.  It may take seconds, and the kernel of a child that is not read for
        more than one, and has more to send than the window, ends its connection.
        """
        return name == self._own_name or self._of(name)[0].holds_one(self._clock_s())

    def may_ask(self, name: str, asker: Route) -> bool:
        """Whether a question for a lease that has come by way of such a child goes on its way now."""
        if self._is_behind() or not self._of_nodes.may_pass(asker, self._clock_s()):
            return False
        return name == self._own_name or self._of(name)[1].take_one(self._clock_s())

    def _of(self, name: str) -> tuple[Allowance, Allowance]:
        """Changes and questions.  A slave that has no place yet learns its level later, and counts anew."""
        level = self._level()
        if (known := self._hosts.get((name, level))) is None:
            most, now_s = most_below(level), self._clock_s()
            changes = Allowance(CHANGES_OF_NODE * most, 1 / max(most / CHANGES_PART, CHANGES_S_LEAST), now_s)
            questions = Allowance(most, 1 / max(most / QUESTIONS_PART, QUESTIONS_S_LEAST), now_s)
            known = self._hosts[name, level] = changes, questions
            if len(self._hosts) > HOSTS_MAX:
                self._hosts.popitem(last=False)
        self._hosts.move_to_end((name, level))
        return known
