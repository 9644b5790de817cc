"""Which nodes a request means, of those that are there and of those that are not.  Pure."""

from __future__ import annotations

from typing import NamedTuple

from gproc.nodespec import NodeSpec, Place, fold
from gproc.request.spec import Request
from gproc.service.absences import Absences
from gproc.service.registry import Registry, with_parents


class Chosen(NamedTuple):
    """present: the connected nodes.  missing: those asked for by number and not connected, folded.

    absent: as of `Accepted`: those that "." means too, were there before, and were not stopped.
    """

    present: list[Place]
    missing: str
    absent: tuple[tuple[str, float, str], ...]

    @property
    def lacking(self) -> str:
        """Why not all nodes are there; "" if they are."""
        parts = [f"not connected: {self.missing}"] if self.missing else []
        parts += [f"{nodes}: {why}" for nodes, _, why in self.absent]
        return "; ".join(parts)


def choose(registry: Registry, absences: Absences, request: Request) -> Chosen:
    """Raises: SpecError."""
    spec = NodeSpec.parse(request.nodes)
    exclusion = NodeSpec.parse_exclusion(request.exclude) if request.exclude else None
    connected = registry.places()
    present = set(connected)
    known = with_parents(connected)
    selected = [Place(path) for path in spec.select(known, exclusion)]
    named = [place for place in selected if place not in present and spec.names(place)]
    missing = ",".join(text for text in (fold(named), spec.missing(known, exclusion)) if text)
    there = [place for place in selected if place in present]
    return Chosen(there, missing, _absent(spec, exclusion, absences, present))


def _absent(
    spec: NodeSpec, exclusion: NodeSpec | None, absences: Absences, present: set[Place]
) -> tuple[tuple[str, float, str], ...]:
    if not (gone := [place for place in absences.places() if place not in present]):
        return ()
    selected = spec.select(with_parents(gone), exclusion)
    return absences.groups(Place(path) for path in selected if not spec.names(path))


def nobody(registry: Registry, request: Request, chosen: Chosen) -> str:
    """Why a request means no connected node."""
    if chosen.lacking:
        return chosen.lacking
    if not len(registry):
        return "no node is connected: start slaves with 'gproc s'"
    without = f" without {request.exclude}" if request.exclude else ""
    return f"no connected node fits {request.nodes}{without}; connected: {fold(registry.places())}"
