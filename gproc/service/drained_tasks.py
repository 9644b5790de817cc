"""Nodes that are drained while a list of tasks is handed out: they get no new ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gproc.nodespec import Place, fold
from gproc.service.listed import ListedJob
from gproc.service.live import LiveJob
from gproc.wire.job_messages import NodesDrained


def tell_of_drained(lives: Iterable[LiveJob], places: Sequence[Place]) -> None:
    """Tell the process that hands out tasks of these jobs, the master or a client, to leave these nodes out from now
    on."""
    for live in lives:
        if live.job.request.action != "map" or not any(live.job.runs_at(place) for place in places):
            continue
        if isinstance(live, ListedJob):
            live.drain(places)
        elif live.attached is not None:
            live.attached.send(NodesDrained(0, fold(places), ""))
