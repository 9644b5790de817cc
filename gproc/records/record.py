"""The record of one job, and the rules of records: how they are named, and which are kept.  Pure."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec

from gproc.errors import UsageError
from gproc.nodespec import Place
from gproc.request.outcome import Lost, Outcome
from gproc.request.spec import Action
from gproc.shown import quoted_text

KeptState = Literal["running", "ended", "lost"]
"""lost: it ran when its master ended, so it is not known how some of its programs ended."""

LAST: Final = "last"
"""The name of a user's newest job."""

NAME_CHARACTERS_MAX: Final = 64

_NAME_CHARACTERS: Final = frozenset(string.ascii_letters + string.digits + "._-")

ARGV_BYTES_MAX: Final = 4000
"""The limit of a command in a record; as much as the audit trail has."""

NODES_CHARACTERS_MAX: Final = 4000
"""The limit of the folded nodes in a table.  The places are kept whole."""


class CommonEnd(msgspec.Struct, frozen=True, array_like=True):
    """How some ranks ended.  ranks: the first and the last of each run of ranks."""

    outcome: Outcome
    ranks: tuple[tuple[int, int], ...]


class TaskNotes(msgspec.Struct, frozen=True, array_like=True):
    """What became of tasks that the master handed out, as `gproc map` would tell it.

    status: None while they run.  lines: for people.
    """

    status: int | None = None
    lines: tuple[str, ...] = ()


class KeptJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job.

    name: "" if it was given none.  argv: the command, cut to a bound.  nodes: where it ran, folded, cut to a bound.
    places: the same by rank, whole.  missing: nodes that were named and not connected, folded.
    detached: no client need be attached.  spooled: whether output is kept.
    ended_s: 0 while it runs.  Times are in Unix time.  endings: of the ranks that have ended.
    stdout_bytes, stderr_bytes: what its programs wrote, on all nodes.
    tasks: if it runs tasks of a list that the master hands out; None: it does not.  action: "run" also of records that
    an older gproc has written, which did not say.
    """

    number: int
    name: str
    uid: int
    argv: tuple[bytes, ...]
    nodes: str
    places: tuple[Place, ...]
    missing: str
    state: KeptState
    detached: bool
    spooled: bool
    started_s: float
    ended_s: float = 0.0
    endings: tuple[CommonEnd, ...] = ()
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    tasks: TaskNotes | None = None
    action: Action = "run"

    def outcomes(self) -> dict[int, Outcome]:
        """The outcomes by rank."""
        runs = ((each.outcome, first, last) for each in self.endings for first, last in each.ranks)
        return {rank: outcome for outcome, first, last in runs for rank in range(first, last + 1)}

    def status(self) -> int | None:
        """The highest exit status; None while it runs."""
        if self.state == "running":
            return None
        if self.state == "ended" and self.tasks is not None and self.tasks.status is not None:
            return self.tasks.status
        return max([125 if self.missing else 0, *(ending.outcome.status for ending in self.endings)])

    def lost_with_its_master(self, reason: str, now_s: float) -> KeptJob:
        """The same after its master has ended: the ranks that had not ended are lost."""
        known = self.outcomes()
        lost = Lost(reason)
        outcomes = {rank: known.get(rank, lost) for rank in range(len(self.places))}
        return msgspec.structs.replace(self, state="lost", ended_s=now_s, endings=endings_of(outcomes))


def endings_of(outcomes: Mapping[int, Outcome]) -> tuple[CommonEnd, ...]:
    """Equal outcomes together: most nodes of a job end alike."""
    ranks: dict[Outcome, list[tuple[int, int]]] = {}
    for rank, outcome in sorted(outcomes.items()):
        runs = ranks.setdefault(outcome, [])
        if runs and runs[-1][1] == rank - 1:
            runs[-1] = (runs[-1][0], rank)
        else:
            runs.append((rank, rank))
    return tuple(CommonEnd(outcome, tuple(runs)) for outcome, runs in ranks.items())


def shortened_nodes(folded: str) -> str:
    return folded if len(folded) <= NODES_CHARACTERS_MAX else folded[:NODES_CHARACTERS_MAX] + "..."


def shortened(argv: Sequence[bytes]) -> tuple[bytes, ...]:
    """A command as its record has it."""
    return cut_words(argv, ARGV_BYTES_MAX, 1)


def cut_words(words: Sequence[bytes], bytes_max: int, each_bytes: int) -> tuple[bytes, ...]:
    """As many as fit, with dots for the rest.  each_bytes: what a word takes besides its own."""
    kept: list[bytes] = []
    left = bytes_max
    for word in words:
        if left <= 0:
            return (*kept, b"...")
        kept.append(word if len(word) <= left else word[:left] + b"...")
        left -= len(word) + each_bytes
    return tuple(kept)


def is_whole(argv: Sequence[bytes]) -> bool:
    """Whether this command of a record was not cut by `shortened`: that adds dots beyond the bound."""
    return sum(map(len, argv)) + len(argv) - 1 <= ARGV_BYTES_MAX


class JobName(msgspec.Struct, frozen=True):
    """What a user calls a job: its number, its name, or "last".  One of the fields is set, or none for the last."""

    number: int | None = None
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> JobName:
        """Raises: UsageError."""
        if text.isascii() and text.isdigit() and len(text) <= 18:
            return cls(number=int(text))
        return cls() if text == LAST else cls(name=checked_name(text))

    def __str__(self) -> str:
        return self.name if self.name else LAST if self.number is None else str(self.number)


def checked_name(text: str) -> str:
    """A name for a job.  Raises: UsageError if it can be none."""
    fine = 0 < len(text) <= NAME_CHARACTERS_MAX and set(text) <= _NAME_CHARACTERS and text[0] in string.ascii_letters
    if not fine or text == LAST:
        raise UsageError(
            f"{quoted_text(text[:NAME_CHARACTERS_MAX])} cannot be the name of a job: a name is a letter and up to "
            f"{NAME_CHARACTERS_MAX - 1} more letters, digits, '.', '_' or '-'; '{LAST}' always means your newest job"
        )
    return text


Bound = Annotated[int, msgspec.Meta(ge=1)]


class Keeping(msgspec.Struct, frozen=True):
    """How much is kept of jobs that have ended: the newest `each_user` of each user, at most `together` of all users,
    and none that ended more than `days` ago.  Jobs that run are always kept."""

    each_user: Bound = 10_000
    together: Bound = 100_000
    days: Bound = 30
