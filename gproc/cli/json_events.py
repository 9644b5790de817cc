"""`gproc e --json`: a line of JSON for each event of a job; docs/reference.md has the fields."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from gproc.cli.writing import Writing
from gproc.client.events import Stream
from gproc.nodespec import Place
from gproc.request.outcome import Outcome, Returned, Signalled

VERSION: Final = 1
"""Raised when a field changes its meaning or goes; new fields may come at any time."""


class JsonEvents:
    """A sink that writes `started`, `output`, `ended` for each node, and `finished`."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        self._names: list[str] = []
        self._begun_s = 0.0

    def begin(self, places: Sequence[Place]) -> None:
        self._begun_s = time.monotonic()
        job = self._writing.job
        self._names = list(map(job.naming.name, places))
        absent = [{"nodes": nodes, "since": since_s, "why": why} for nodes, since_s, why in job.absent]
        drained = [{"nodes": nodes, "since": why.since_s, "why": why.reason} for nodes, why in job.drained]
        self._say(
            "started", version=VERSION, job=job.number, nodes=self._names, missing=job.missing, absent=absent,
            drained=drained,
        )  # fmt: skip

    def output(self, rank: int, stream: Stream, data: memoryview) -> None:
        """Data that is UTF-8 is text; a piece that is not, or is cut within a character, is base64."""
        try:
            content = {"data": str(data, "utf-8")}
        except UnicodeDecodeError:
            content = {"base64": base64.b64encode(data).decode()}
        self._say("output", node=self._names[rank], stream=stream, **content)

    def ended(self, rank: int, outcome: Outcome) -> None:
        self._say(
            "ended", node=self._names[rank], how=outcome.kind, status=outcome.status, seconds=self._seconds(),
            **_facts(outcome),
        )  # fmt: skip

    def finish(self) -> None:
        if not self._names:
            return  # the job was never taken
        outcomes = self._writing.job.outcomes.values()
        kinds = Counter(outcome.kind for outcome in outcomes)
        status = max((outcome.status for outcome in outcomes), default=0)
        self._say("finished", status=status, outcomes=dict(kinds), seconds=self._seconds())

    def _seconds(self) -> float:
        return round(time.monotonic() - self._begun_s, 3)

    def _say(self, event: str, **fields: Any) -> None:
        self._writing.write("stdout", json.dumps({"event": event, **fields}).encode() + b"\n")


def _facts(outcome: Outcome) -> dict[str, Any]:
    """A fact may be an outcome too: how a program ended after the time of its job was up."""
    facts = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
    return {
        name: {"how": fact.kind, **_facts(fact)} if isinstance(fact, Returned | Signalled) else fact
        for name, fact in facts.items()
    }
