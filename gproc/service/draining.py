"""The nodes that take no new jobs because a user who may do so has drained them.  They are kept on the disk.

A node is known by its place and its host: the next slave that gets this place on another host takes jobs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

import msgspec

from gproc.errors import GprocError, UsageError
from gproc.nodespec import Place, fold
from gproc.service.registry import Node
from gproc.shown import reason_of, shown_text
from gproc.trust.home import write_file
from gproc.wire.job_messages import DRAIN_REASON_MAX
from gproc.wire.tree_rows import NodeDrained

DRAINED_MAX: Final = 20_000

FILE_BYTES_MAX: Final = 16 << 20


class _Row(msgspec.Struct, frozen=True):
    """A line of the file."""

    place: tuple[int, ...]
    host: str
    since_s: float
    uid: int
    reason: str


class Draining:
    """path: of the file; "" if nothing is kept."""

    def __init__(self, path: str) -> None:
        """Raises: GprocError if there is a file that cannot be used."""
        self._path = path
        self._rows: dict[tuple[Place, str], _Row] = {}
        if path:
            self._read()

    def _read(self) -> None:
        try:
            with open(self._path, "rb", opener=_without_links) as file:
                content = file.read(FILE_BYTES_MAX)
            rows = msgspec.json.decode(content, type=tuple[_Row, ...])
        except FileNotFoundError:
            return
        except OSError as error:
            raise GprocError(f"cannot read the drained nodes in {self._path}: {reason_of(error)}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise GprocError(f"{self._path} does not hold drained nodes ({error}): mend or remove it") from error
        self._rows = {(Place(row.place), row.host): row for row in rows}

    def drain(self, nodes: Iterable[Node], uid: int, reason: str, now_s: float) -> None:
        """These nodes take no new jobs.  A node that is drained already keeps its date.  now_s: Unix time.

        Raises: GprocError if that cannot be kept, and then nothing has changed; UsageError if there are too many.
        """
        rows = dict(self._rows)
        for node in nodes:
            key = (node.place, node.info.name)
            since_s = rows[key].since_s if key in rows else now_s
            rows[key] = _Row(node.place, node.info.name, since_s, uid, shown_text(reason[:DRAIN_REASON_MAX]))
        if len(rows) > DRAINED_MAX:
            raise UsageError(f"more than {DRAINED_MAX} nodes would be drained")
        self._keep(rows)

    def resume(self, nodes: Iterable[Node]) -> None:
        """These nodes take jobs again.  Raises: GprocError as `drain`."""
        keys = {(node.place, node.info.name) for node in nodes}
        self._keep({key: row for key, row in self._rows.items() if key not in keys})

    def _keep(self, rows: dict[tuple[Place, str], _Row]) -> None:
        if rows == self._rows:
            return
        if self._path:
            write_file(self._path, msgspec.json.encode(list(rows.values())), 0o600)
        self._rows = rows

    def of(self, node: Node) -> NodeDrained | None:
        """Why a node takes no jobs; None if it does."""
        row = self._rows.get((node.place, node.info.name))
        return None if row is None else NodeDrained(row.since_s, row.uid, row.reason)

    def groups(self, nodes: Iterable[Node]) -> tuple[tuple[str, NodeDrained], ...]:
        """The drained ones among these nodes, folded, by the user and the reason, with the date of the first of
        them."""
        found: dict[tuple[int, str], list[tuple[float, Place]]] = {}
        for node in nodes:
            if (drained := self.of(node)) is not None:
                found.setdefault((drained.uid, drained.reason), []).append((drained.since_s, node.place))
        return tuple(
            (fold(place for _, place in members), NodeDrained(min(members)[0], uid, reason))
            for (uid, reason), members in found.items()
        )


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
