"""Asks the master, before a job is submitted, what NODES means if it is not a path of places.

`resolve` is a generator, so that the command line, threads and asyncio can each ask in their own way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from gproc.client.keywords import check_nodes
from gproc.client.questions import answer_to
from gproc.client.session import ClientSession
from gproc.errors import GprocError, UsageError
from gproc.naming.naming import PLACES, HostNames, MeantNodes, Naming, is_plain, nobody_is
from gproc.naming.words import OURS, Operand, Words, joined
from gproc.nodespec import Path, Place, fold
from gproc.wire.job_messages import GROUPS_MAX, NAMES_MAX, FailedNodes, FoundNodes, JobAnswer

JobQuestion = Callable[[ClientSession], int]
"""Asks; returns the serial number of the `Answered`."""


class NoneFailed(GprocError):
    """No node of a job has failed."""

    def __init__(self, job: int, *, runs: bool) -> None:
        super().__init__(job, runs)
        self.job = job
        self.runs = runs

    def __str__(self) -> str:
        return f"no node of job {self.job} has failed" + (" so far" if self.runs else "")


Steps = Generator[JobQuestion, JobAnswer, MeantNodes]


def resolve(nodes: str, exclude: str = "", *, job: str = "last") -> Steps:
    """What these mean.  job: whose failed nodes `@failed` stands for.

    Raises: SpecError; UnknownNames; UsageError if none of the hosts is known; NoneFailed; JobRejected if there is no
    such job.
    """
    check_nodes(nodes)
    check_nodes(exclude, "exclude")
    if is_plain(nodes) and is_plain(exclude):
        return MeantNodes(nodes, exclude)
    chosen = Words.parse(nodes)
    excluded = Words.parse(exclude) if exclude else Words("")
    failed = ""
    if chosen.failed or excluded.failed:
        failed = failed_nodes((yield lambda session: session.ask_failed(job)))
    found = yield from _find(chosen.hosts)
    left_out = yield from _find(excluded.hosts)
    naming: Naming = PLACES
    if chosen.hosts:
        unknown = tuple(host for host, places in found.places.items() if not places)
        naming = HostNames(_alone(found), unknown, found.gone)
    named = joined(found.paths, fold(place for places in found.places.values() for place in places))
    meant = joined(chosen.paths, failed if chosen.failed else "", named)
    if nodes and not meant:
        raise UsageError(nobody_is(naming.missing("")) if naming.unknown else f"{nodes} is no node at all")
    without = joined(left_out.paths, fold(place for places in left_out.places.values() for place in places))
    nobodys = tuple(host for host, places in left_out.places.items() if not places)
    return MeantNodes(meant, joined(excluded.paths, failed if excluded.failed else "", without), naming, nobodys)


class _Found(NamedTuple):
    """places: of each host.  gone: hosts that are not connected.  paths: groups that stand for places, joined."""

    places: dict[str, tuple[Place, ...]]
    gone: frozenset[str]
    paths: str


def _alone(found: _Found) -> dict[Path, str]:
    """The hosts of places, for hosts that have only one place."""
    holders = Counter(place for places in found.places.values() for place in places)
    return {
        places[0]: host for host, places in found.places.items() if len(places) == 1 and holders[places[0]] == 1
    }


def _find(operands: Sequence[Operand]) -> Generator[JobQuestion, JobAnswer, _Found]:
    """Where the hosts are.  Raises: UnknownNames."""
    if not operands:
        return _Found({}, frozenset(), "")
    from gproc.naming.expanding import UnknownNames, is_known, names_of

    ours: dict[str, str] = {}
    groups = [each for each in operands if each.is_group and ":" not in each.text.removeprefix(OURS)]
    wanted = list(dict.fromkeys(each.group for each in groups))
    for begin in range(0, len(wanted), GROUPS_MAX):
        asked = wanted[begin : begin + GROUPS_MAX]
        answer = yield lambda session, asked=asked: session.find_nodes((), asked)  # type: ignore[misc]
        assert isinstance(answer, FoundNodes)
        ours |= {name: text for name, text in zip(asked, answer.groups, strict=True) if text}
    for each in groups:
        if each.group in ours and not each.text.startswith(OURS) and is_known(each.group):
            raise UnknownNames(
                f"{each.text} could be a group of ClusterShell or one of the tree: write @SOURCE:{each.group} or "
                f"{OURS}{each.group}"
            )
    paths: list[str] = []

    def elsewhere(name: str) -> Sequence[str]:
        if name not in ours:
            raise UnknownNames(f"there is no group @{name}: neither ClusterShell nor the master knows it")
        words = Words.parse(ours[name])
        if any(each.is_group for each in words.hosts) or words.failed:
            raise UnknownNames(f"@{name} stands for {ours[name]}, and a group of a locale has no groups in it")
        if words.paths:
            paths.append(words.paths)
        return names_of(words.hosts, elsewhere)

    names = names_of(operands, elsewhere)
    if paths and any(each.operator != "," for each in operands):
        raise UnknownNames(f"{paths[0]} are places, and '!', '&' and '^' combine only hosts")
    places: dict[str, tuple[Place, ...]] = {}
    gone: set[str] = set()
    for begin in range(0, len(names), NAMES_MAX):
        part = names[begin : begin + NAMES_MAX]
        answer = yield lambda session, part=part: session.find_nodes(part)  # type: ignore[misc]
        assert isinstance(answer, FoundNodes)
        places |= {
            host: tuple(map(Place, found)) for host, found in zip(part, answer.places, strict=True)
        }
        gone |= {part[index] for index in answer.gone if index < len(part)}
    return _Found(places, frozenset(gone), joined(*paths))


def failed_nodes(answer: JobAnswer) -> str:
    """The nodes on which a job has failed, and those that it was meant for and that were not connected.

    Raises: NoneFailed.
    """
    assert isinstance(answer, FailedNodes)
    nodes = joined(answer.nodes, answer.missing)
    if not nodes:
        raise NoneFailed(answer.job, runs=answer.runs)
    return nodes


def resolved(socket_path: str, nodes: str, exclude: str = "", *, job: str = "last") -> MeantNodes:
    """The same, asked over a connection of its own, if anything must be asked."""
    return run_questions(resolve(nodes, exclude, job=job), lambda question: answer_to(socket_path, question))


def run_questions(steps: Steps, ask: Callable[[JobQuestion], JobAnswer]) -> MeantNodes:
    try:
        question = next(steps)
        while True:
            question = steps.send(ask(question))
    except StopIteration as done:
        found: MeantNodes = done.value
        return found
