"""Membership in the tree, as two tables of states: a slave at its parent, and a child as its parent sees it.  Pure.

Rules only: events go in, effects come out.  `gproc.node.uplink` and `gproc.relay.children` have the connections.
`Membership.handle` decides what happens when a parent dies.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Final, Generic, TypeVar, Union

import msgspec

from gproc.nodespec import Place

RETRY_S: Final = 0.1
"""Seconds until the first try to reach a parent again.  The pause is doubled each time."""

MAX_UNREACHABLE_S: Final = 2.0
"""The most seconds between two tries if the parent does not answer: it may come back at any moment."""

MAX_REFUSED_S: Final = 60.0
"""The most seconds between two tries if the parent refuses: a person has to change something first."""

JITTER: Final = 0.2
"""The random part of a pause: without it, all children of a parent that comes back would dial at once."""

SPREAD_S: Final = 0.2
"""The children of a node that has died dial the next one within this time, and not all at once."""

ONE_OF_MANY_S: Final = 2.0
"""How long one node may take to let a slave in, in seconds, before the next is dialled.  It grows by that much with
each round."""

ONE_OF_MANY_MAX_S: Final = 8.0
"""The most that it may take."""

BESIDE_PART: Final = 0.3
"""After this part of that time the one above it is reached too, if it has not even ended its TLS handshake.  If that
one does so first, it is dialled: the kernel of a frozen node takes a connection, and nothing else would show that
nobody reads it.  With 4 s of silence until a frozen parent is left, a frozen grandparent may cost 1 s more."""

STORY_EVENTS: Final = 8
"""How many moves are kept for the message about an illegal move."""

S = TypeVar("S", bound=Enum)


class IllegalMove(Exception):
    """An event that a state does not allow: a bug of ours.  story: the moves before it, oldest first."""

    def __init__(self, state: Enum, event: object, story: tuple[str, ...]) -> None:
        super().__init__(state, event, story)
        self.state = state
        self.event = event
        self.story = story

    def __str__(self) -> str:
        return f"{type(self.event).__name__} in state {self.state.value}; before: {', '.join(self.story) or 'nothing'}"


class _Machine(Generic[S]):
    """A state that moves by a table."""

    def __init__(self, start: S, moves: Mapping[tuple[S, type], S]) -> None:
        self.state = start
        self._moves = moves
        self._story: deque[str] = deque(maxlen=STORY_EVENTS)

    def move(self, event: object) -> None:
        """Raises: IllegalMove."""
        after = self._moves.get((self.state, type(event)))
        if after is None:
            raise IllegalMove(self.state, event, tuple(self._story))
        self._story.append(f"{self.state.value} -{type(event).__name__}-> {after.value}")
        self.state = after


# A slave at its parent


class SlaveState(Enum):
    """dialling: no parent yet.  joined: the parent has let us in.  granted: the master has given us a place, so jobs
    may run.  orphaned: the parent is lost.  leaving: this process ends."""

    DIALLING = "dialling"
    JOINED = "joined"
    GRANTED = "granted"
    ORPHANED = "orphaned"
    LEAVING = "leaving"


class Welcomed(msgspec.Struct, frozen=True):
    """Both connections to the parent are open, and it gave us this number."""

    id: int


class PlaceGranted(msgspec.Struct, frozen=True):
    """The master's signed grant for this run of this slave."""

    place: Place


class DialFailed(msgspec.Struct, frozen=True):
    """The parent was not reached, or refused us.  refused: it refused.  final: it will not change its answer."""

    reason: str
    refused: bool = False
    final: bool = False


class ParentLost(msgspec.Struct, frozen=True):
    """One of the connections to the parent has ended."""

    reason: str


class Redial(msgspec.Struct, frozen=True):
    """The pause before the next try is over."""


class Stopped(msgspec.Struct, frozen=True):
    """This process was told to end."""


SlaveEvent = Union[Welcomed, PlaceGranted, DialFailed, ParentLost, Redial, Stopped]  # noqa: UP007

SLAVE_MOVES: Final[Mapping[tuple[SlaveState, type], SlaveState]] = {
    (SlaveState.DIALLING, Welcomed): SlaveState.JOINED,
    (SlaveState.DIALLING, DialFailed): SlaveState.DIALLING,
    (SlaveState.DIALLING, Redial): SlaveState.DIALLING,
    (SlaveState.DIALLING, Stopped): SlaveState.LEAVING,
    (SlaveState.JOINED, PlaceGranted): SlaveState.GRANTED,
    (SlaveState.JOINED, ParentLost): SlaveState.ORPHANED,
    (SlaveState.JOINED, Stopped): SlaveState.LEAVING,
    (SlaveState.GRANTED, PlaceGranted): SlaveState.GRANTED,
    (SlaveState.GRANTED, ParentLost): SlaveState.ORPHANED,
    (SlaveState.GRANTED, Stopped): SlaveState.LEAVING,
    (SlaveState.ORPHANED, Redial): SlaveState.DIALLING,
    (SlaveState.ORPHANED, Stopped): SlaveState.LEAVING,
    (SlaveState.LEAVING, Welcomed): SlaveState.LEAVING,
    (SlaveState.LEAVING, PlaceGranted): SlaveState.LEAVING,
    (SlaveState.LEAVING, DialFailed): SlaveState.LEAVING,
    (SlaveState.LEAVING, Redial): SlaveState.LEAVING,
    (SlaveState.LEAVING, ParentLost): SlaveState.LEAVING,
    (SlaveState.LEAVING, Stopped): SlaveState.LEAVING,
}


class Tell(msgspec.Struct, frozen=True):
    """Say this to the log."""

    text: str
    warning: bool = False


class AnnounceSubtree(msgspec.Struct, frozen=True):
    """Tell the parent of every node below this one."""


class Suspend(msgspec.Struct, frozen=True):
    """There is no parent: jobs go on, and what they say waits for another one."""


class DialAfter(msgspec.Struct, frozen=True):
    """Try to reach the parent after this pause, in seconds."""

    pause_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """End this process: the parent will never let it in."""

    reason: str


SlaveEffect = Union[Tell, AnnounceSubtree, Suspend, DialAfter, GiveUp]  # noqa: UP007


class Membership:
    """A slave's membership.  id: its number below its parent.  place: that of the master's last grant; () before it.

    ways: the nodes that may be its parent, as messages name them: its own parent first, then those above it.
    way: the number of the one that is its parent now, or is dialled next.
    """

    def __init__(self, id: int | None, ways: tuple[str, ...], jitter: random.Random | None = None) -> None:
        self.id = id
        self.place = Place(())
        self.ways = ways
        self.way = 0
        self._failed_ways = 0
        self._granted_here = False
        """Whether the master's grant came by way of the present parent, or of the last one."""
        self._machine = _Machine(SlaveState.DIALLING, SLAVE_MOVES)
        self._jitter = jitter or random.Random()
        self._pause_s = RETRY_S
        self._complaints: dict[int, str] = {}
        """The last refusal of each way since there was a parent."""

    @property
    def state(self) -> SlaveState:
        return self._machine.state

    def handle(self, event: SlaveEvent) -> list[SlaveEffect]:
        """Raises: IllegalMove."""
        self._machine.move(event)
        if self.state is SlaveState.LEAVING:
            return []  # these events were on their way when the slave was told to end
        match event:
            case Welcomed(id):
                self.id = id
                self._granted_here = False
                return [AnnounceSubtree()]
            case PlaceGranted(place):
                self._granted_here = True
                self._pause_s, self._failed_ways = RETRY_S, 0
                self._complaints.clear()
                changed, self.place = self.place != place, place
                return [Tell(f"this is node {'/'.join(map(str, place))}")] if changed else []
            case DialFailed():
                return self._failed(event)
            case ParentLost(reason) if self.state is SlaveState.ORPHANED and not self._granted_here:
                # The parent let us in, but the master gave no place: perhaps the parent is too busy, so do not dial it
                # again at once.
                return [Suspend(), *self._failed(DialFailed(reason))]
            case ParentLost(reason) if self.state is SlaveState.ORPHANED:
                lost = self.ways[self.way]
                if len(self.ways) == 1:
                    said = f"lost the parent at {lost}: {reason}; trying to join again"
                    return [Suspend(), Tell(said, warning=True), DialAfter(self._next_pause_s(MAX_UNREACHABLE_S))]
                self._turn()
                said = f"lost the parent at {lost}: {reason}; the next one is {self.ways[self.way]}"
                return [Suspend(), Tell(said, warning=True), DialAfter(SPREAD_S * self._jitter.random())]
            case _:
                return []

    def know(self, ways: tuple[str, ...]) -> None:
        """The master has named the other nodes that may be the parent.  ways: as the attribute."""
        now = self.ways[self.way]
        self.ways = ways
        self.way = ways.index(now) if now in ways else 0
        self._complaints.clear()

    def go_home(self) -> None:
        """The next one that is dialled is the slave's own parent."""
        self.go_to(self.ways[0])

    def go_to(self, where: str) -> None:
        """The next one that is dialled is this one of `ways`."""
        self.way = (self.ways.index(where) - 1) % len(self.ways)

    @property
    def at_home(self) -> bool:
        return self.way == 0

    @property
    def patience_s(self) -> float:
        """Seconds for which the node that is dialled next may take to let us in, if there are others to try.

        It grows with each round: on a busy network all of them may be slow.
        """
        rounds = self._failed_ways // len(self.ways)
        return min(ONE_OF_MANY_S * (1 + rounds), ONE_OF_MANY_MAX_S)

    @property
    def next_way(self) -> str:
        """The node that is dialled if `way` does not let this one in."""
        return self.ways[(self.way + 1) % len(self.ways)]

    @property
    def beside_s(self) -> float:
        """Seconds until the next one is reached beside the one that is dialled."""
        return BESIDE_PART * self.patience_s

    def _turn(self) -> None:
        self.way = (self.way + 1) % len(self.ways)

    def _failed(self, event: DialFailed) -> list[SlaveEffect]:
        if event.final and self.at_home:
            return [GiveUp(event.reason)]
        effects: list[SlaveEffect] = []
        if event.reason != self._complaints.get(self.way):
            self._complaints[self.way] = event.reason
            effects.append(Tell(f"cannot join: {event.reason}; trying again", warning=True))
        self._failed_ways += 1
        self._turn()
        if self._failed_ways % len(self.ways):
            return [*effects, DialAfter(0.0)]
        effects.append(DialAfter(self._next_pause_s(MAX_REFUSED_S if event.refused else MAX_UNREACHABLE_S)))
        return effects

    def _next_pause_s(self, most_s: float) -> float:
        pause_s = min(self._pause_s, most_s)
        self._pause_s = min(2 * self._pause_s, MAX_REFUSED_S)
        return pause_s * (1 - JITTER * self._jitter.random())


# A child at its parent


class ChildState(Enum):
    """joining: only its control connection is open, so it takes part in nothing.  present: both are open.
    gone: it is no child any more."""

    JOINING = "joining"
    PRESENT = "present"
    GONE = "gone"


class BulkOpened(msgspec.Struct, frozen=True):
    """Its second connection is open."""


class TimedOutJoining(msgspec.Struct, frozen=True):
    """Its time for opening the second connection is over.  waited_s: how long that was, in seconds."""

    waited_s: float


class ConnectionLost(msgspec.Struct, frozen=True):
    """One of its connections has ended.  bulk: it was the second one."""

    reason: str
    bulk: bool


ChildEvent = Union[BulkOpened, TimedOutJoining, ConnectionLost]  # noqa: UP007

CHILD_MOVES: Final[Mapping[tuple[ChildState, type], ChildState]] = {
    (ChildState.JOINING, BulkOpened): ChildState.PRESENT,
    (ChildState.JOINING, TimedOutJoining): ChildState.GONE,
    (ChildState.JOINING, ConnectionLost): ChildState.GONE,
    (ChildState.PRESENT, TimedOutJoining): ChildState.PRESENT,
    (ChildState.PRESENT, ConnectionLost): ChildState.GONE,
    (ChildState.GONE, TimedOutJoining): ChildState.GONE,
    (ChildState.GONE, ConnectionLost): ChildState.GONE,
}


class Admit(msgspec.Struct, frozen=True):
    """It is a child from now on: tell the nodes above, and let it take part in jobs."""


class Part(msgspec.Struct, frozen=True):
    """It is gone: close its open connections, and tell the nodes above."""

    reason: str


class ChildMembership:
    """One child's membership, as its parent sees it."""

    def __init__(self) -> None:
        self._machine = _Machine(ChildState.JOINING, CHILD_MOVES)

    @property
    def state(self) -> ChildState:
        return self._machine.state

    def handle(self, event: ChildEvent) -> Admit | Part | None:
        """Raises: IllegalMove, as for a second bulk connection."""
        before = self.state
        self._machine.move(event)
        if self.state is before:
            return None
        match event:
            case BulkOpened():
                return Admit()
            case TimedOutJoining(waited_s):
                return Part(f"it opened no bulk connection within {waited_s:.0f} s")
            case ConnectionLost(reason, bulk):
                return Part(f"its bulk connection was lost: {reason}" if bulk else reason)
