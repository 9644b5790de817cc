"""Which nodes a request means, of those that are there and of those that are not.  Pure."""

from __future__ import annotations

from typing import NamedTuple

from gproc.errors import GprocError
from gproc.nodespec import NodeSpec, Place, fold
from gproc.request.spec import Request
from gproc.service.absences import Absences
from gproc.service.draining import Draining
from gproc.service.registry import Node, Registry, with_parents
from gproc.wire.tree_rows import NodeDrained


class Chosen(NamedTuple):
    """present: the connected nodes.  missing: those asked for by number and not connected, folded.

    absent: as of `Accepted`: those that "." means too, were there before, and were not stopped.
    drained: those that "." means too and that take no new jobs.
    """

    present: list[Place]
    missing: str
    absent: tuple[tuple[str, float, str], ...]
    drained: tuple[tuple[str, NodeDrained], ...]

    @property
    def lacking(self) -> str:
        """Why not all nodes are there; "" if they are."""
        parts = [f"not connected: {self.missing}"] if self.missing else []
        parts += [f"{nodes}: {why}" for nodes, _, why in self.absent]
        parts += _told(self.drained)
        return "; ".join(parts)


class NodesAreDrained(GprocError):
    """A request names nodes by number that take no new jobs."""


class Selected(NamedTuple):
    """there: the connected nodes.  missing: those asked for by number and not connected, folded."""

    there: list[Node]
    missing: str


def selected(registry: Registry, spec: NodeSpec, exclusion: NodeSpec | None = None) -> Selected:
    """The nodes that a specification means.  Raises: SpecError if it takes too much work."""
    known = with_parents(registry.places())
    nodes = {Place(path): registry.at(Place(path)) for path in spec.select(known, exclusion)}
    named = [place for place, node in nodes.items() if node is None and spec.names(place)]
    missing = ",".join(text for text in (fold(named), spec.missing(known, exclusion)) if text)
    return Selected([node for node in nodes.values() if node is not None], missing)


def choose(registry: Registry, absences: Absences, draining: Draining, request: Request) -> Chosen:
    """Raises: SpecError; NodesAreDrained."""
    spec = NodeSpec.parse(request.nodes)
    exclusion = NodeSpec.parse_exclusion(request.exclude) if request.exclude else None
    there, missing = selected(registry, spec, exclusion)
    drained = [node for node in there if draining.of(node) is not None]
    if wanted := draining.groups([node for node in drained if spec.names(node.place)]):
        raise NodesAreDrained(f"{'; '.join(_told(wanted))}: leave them out, or give them back by gproc drain --resume")
    taking = [node.place for node in there if draining.of(node) is None]
    absent = _absent(spec, exclusion, absences, set(registry.places()))
    return Chosen(taking, missing, absent, draining.groups(drained))


def _absent(
    spec: NodeSpec, exclusion: NodeSpec | None, absences: Absences, present: set[Place]
) -> tuple[tuple[str, float, str], ...]:
    if not (gone := [place for place in absences.places() if place not in present]):
        return ()
    selected = spec.select(with_parents(gone), exclusion)
    return absences.groups(Place(path) for path in selected if not spec.names(path))


def _told(drained: tuple[tuple[str, NodeDrained], ...]) -> list[str]:
    return [f"drained: {nodes}" + (f" ({why.reason})" if why.reason else "") for nodes, why in drained]


def nobody(registry: Registry, request: Request, chosen: Chosen) -> str:
    """Why a request means no connected node."""
    if chosen.lacking:
        return chosen.lacking
    if not len(registry):
        return "no node is connected: start slaves with 'gproc s'"
    without = f" without {request.exclude}" if request.exclude else ""
    return none_fits(registry, request.nodes + without)


def none_fits(registry: Registry, nodes: str) -> str:
    return f"no connected node fits {nodes}; connected: {fold(registry.places())}"
