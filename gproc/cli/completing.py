"""`gproc __complete WORD...`: shells run this hidden command at each press of the tab key.  If it fails, it is silent.

Output: a line with what the shell itself should complete (`file`, `directory`, `command` or nothing) and, after a tab,
the finished part of the word; then a candidate on each line and, after a tab, its meaning.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from gproc.cli.completion import Candidate, Completion, complete
from gproc.cli.defaults import defaults_of
from gproc.cli.modes import MODES
from gproc.cli.program_options import DEFAULT_SOCKET
from gproc.errors import GprocError
from gproc.naming.words import FAILED
from gproc.shown import shown_text

if TYPE_CHECKING:
    from gproc.wire.messages import NodeState

ANSWER_S: Final = 0.5
"""Seconds to wait for the master's answer while a person waits at the keyboard.  For its connection none: if as many
wait as the kernel holds, it would be 10."""

NODES_MAX: Final = 200
"""More nodes than this are not listed one by one: a shell would ask whether to show them all."""

JOBS_MAX: Final = 50
"""The most jobs that are offered, the newest ones."""

_EXEC: Final = next(mode for mode in MODES if mode.letters == "e")
"""If the line names no socket, the default of this mode counts."""

_SHELL_OFFERS: Final = ("file", "directory", "command")


def answer(words: Sequence[str]) -> int:
    """Print the words that can complete the last one of `gproc WORDS`."""
    found = complete(words)
    last = words[-1] if words else ""
    candidates = [*found.candidates, *_outside(found, last)]
    offer = found.offer if found.offer in _SHELL_OFFERS else ""
    if found.offer == "locale" or found.offer == "source or node path":
        offer = "file"
    lines = [f"{offer}\t{found.prefix}", *(f"{word}\t{text}" for word, text in candidates)]
    # A name with a newline would be taken for two candidates.
    sys.stdout.write("".join(line + "\n" for line in lines if "\n" not in line))
    return 0


def _outside(found: Completion, last: str) -> Iterator[Candidate]:
    """Candidates that are not in the tables: locales and nodes."""
    begun = last[len(found.prefix) :]
    match found.offer:
        case "locale":
            from gproc.locales import SHIPPED

            words: Iterable[Candidate] = ((name, "A shipped locale.") for name in SHIPPED)
        case "nodes":
            words = node_words(found, begun)
        case "node path" | "source or node path":
            words = ((f"{word}:", text) for word, text in node_words(found, begun))
        case "job" | "running job":
            words = job_candidates(_socket(found), ended=found.offer == "job")
        case _:
            return
    for word, text in words:
        if word.startswith(begun):
            yield found.prefix + word, shown_text(text)  # a node's name is what its certificate says


def node_words(found: Completion, begun: str) -> list[Candidate]:
    if begun.startswith("@"):
        return group_candidates(_connected(found))
    if begun[:1].isalpha():
        return host_candidates([node.node.name for node in _connected(found)], begun)
    return node_candidates(_connected(found), begun)


def group_candidates(nodes: Sequence[NodeState]) -> list[Candidate]:
    """`@failed`, the groups of ClusterShell, and the racks of the tree."""
    from gproc.naming.expanding import known_groups

    groups = {FAILED: "The nodes on which your last job failed."}
    groups |= {f"@{name}": "A group of ClusterShell." for name in sorted(known_groups())}
    racks = sorted({node.place[0] for node in nodes if len(node.place) > 1})
    return [*groups.items(), *((f"@rack{number}", "A node and all below it.") for number in racks)]


def host_candidates(names: Sequence[str], begun: str) -> list[Candidate]:
    """Connected hosts whose names begin like this, one by one if they are not too many, and all of them."""
    from gproc.naming.hosts import fold_hosts, is_host

    fitting = sorted({name for name in names if name.startswith(begun) and is_host(name)})
    together = [(fold_hosts(fitting), f"All {len(fitting)} hosts that begin so.")] if len(fitting) > 1 else []
    return [*together, *((name, "") for name in fitting[:NODES_MAX] if len(fitting) <= NODES_MAX)]


def _connected(found: Completion) -> tuple[NodeState, ...]:
    """The nodes of the master at the socket that the line names; none if it does not answer in time."""
    from gproc.client.inquiry import inquire

    try:
        return inquire(_socket(found), ANSWER_S, waits=False).nodes
    except (GprocError, OSError):
        return ()


def _socket(found: Completion) -> str:
    """The socket of the master that the line means.  Raises: GprocError if a file that sets defaults is wrong."""
    return dict(found.given).get("socket") or str(defaults_of(_EXEC).get("socket", DEFAULT_SOCKET))


def job_candidates(socket: str, *, ended: bool) -> list[Candidate]:
    """The newest jobs by name and number, the newest first, and `last`; none if the master does not answer in time."""
    from gproc.client.questions import job_list
    from gproc.shown import command_text

    try:
        rows = job_list(socket, ended=ended, timeout_s=ANSWER_S, waits=False).jobs[-JOBS_MAX:][::-1]
    except (GprocError, OSError):
        return []
    names = {row.name: f"Job {row.number}: {command_text(row.argv)}" for row in rows[::-1] if row.name}
    numbers = [(str(row.number), command_text(row.argv)) for row in rows]
    return [*((("last", "Your newest job."),) if rows else ()), *reversed(names.items()), *numbers]


def node_candidates(nodes: Sequence[NodeState], begun: str) -> list[Candidate]:
    """Sets of nodes, and the nodes of the level that `begun` is at: after `2/` the children of node 2."""
    from gproc.nodespec import fold, format_path

    exact = "=" if begun.startswith("=") else ""
    parent_text = begun[len(exact) :].rpartition("/")[0]
    level = parent_text.count("/") + 1 if parent_text else 0
    here = [node for node in nodes if format_path(node.place[:level]) == parent_text and len(node.place) == level + 1]
    if not here:
        return []
    beside = f"{exact}{parent_text}/" if level else exact
    deeper = {node.place[: level + 1] for node in nodes if len(node.place) > level + 1}
    sets = [(f"{beside}.", f"All {len(here)} nodes of this level.")]
    if len(here) > 1:
        ids = fold([(node.place[-1],) for node in here]).split(",")
        sets += [(f"{beside}{some.removeprefix('=')}", "Connected nodes.") for some in ids if "-" in some]
    if deeper and not level:
        sets.append((f"{exact}./.", "All nodes of the first two levels."))
    single = []
    for node in here[:NODES_MAX]:
        path = exact + format_path(node.place)
        single.append((path, node.node.name))
        if node.place in deeper:
            single.append((f"{path}/.", f"{node.node.name} and its children."))
    return [*sets, *(single if len(here) <= NODES_MAX or begun[-1:].isdigit() else ())]
