"""`gproc stacks JOB [NODES]`: where the processes of a job are, as one tree for all of its nodes."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

from gproc.cli.absent import without_part
from gproc.cli.naming import meant_of_job
from gproc.cli.options import StacksOptions
from gproc.cli.stderr import complain
from gproc.cli.style import columns
from gproc.cli.trace import Trace
from gproc.client.questions import answer_to
from gproc.client.stack_info import StacksInfo, stacks_info
from gproc.client.stack_tree import chains_of, elsewhere_of, groups_of, ranks_in, tree_of, without_place
from gproc.errors import EXIT_GPROC
from gproc.naming.naming import Naming
from gproc.nodespec import Place
from gproc.shown import count_text, shown_text
from gproc.wire.stacks import RANK_HAS_ENDED, JobStacks

_INDENT: Final = "  "
_NEXT: Final = " > "


def run(options: StacksOptions) -> int:
    meant = meant_of_job(options.socket, options.nodes, options.job)
    trace = Trace(options.debug)
    trace.step(f"asks the master at {options.socket} where the processes of job {options.job} are")
    answer = answer_to(
        options.socket, lambda session: session.ask_stacks(options.job, meant.nodes, debugger=options.debugger)
    )
    assert isinstance(answer, JobStacks)
    size = len(answer.places)
    trace.step(f"{len(ranks_in(answer.ranks, size))} nodes of {len(ranks_in(answer.asked, size))} have answered")
    names = Names(answer, meant.naming)
    shown = as_json(stacks_info(answer, meant)) if options.json else as_text(answer, names, columns(sys.stdout))
    sys.stdout.write(shown)
    lacking = without_part(meant.nodes, map(Place, answer.places), answer.job, meant.naming)
    complain([*lacking, *([] if options.json else told(answer, names))])
    return EXIT_GPROC if lacking or any(each.text != RANK_HAS_ENDED for each in answer.silent) else 0


class Names:
    def __init__(self, answer: JobStacks, naming: Naming) -> None:
        self._places = [Place(place) for place in answer.places]
        self._naming = naming

    def folded(self, ranks: Iterable[int]) -> str:
        return self._naming.fold(self._places[rank] for rank in ranks)


def as_text(answer: JobStacks, names: Names, width: int | None) -> str:
    """First the nodes that are elsewhere, then the tree: the frames of few nodes before those of many."""
    lines = [*_summary(answer, names)]
    for depth, frames, node in chains_of(tree_of(answer)):
        threads = "" if node.threads == len(node.ranks) else f", {node.threads} threads"
        label = f"[{count_text(len(node.ranks), 'node')}{threads}: {names.folded(sorted(node.ranks))}]"
        lines += _folded(f"{shown_text(_NEXT.join(frames))}  {label}", _INDENT * depth, width)
    if empty := without_place(answer):
        lines += _folded(f"no process  [{count_text(len(empty), 'node')}: {names.folded(empty)}]", "", width)
    return "".join(f"{line}\n" for line in lines)


def _summary(answer: JobStacks, names: Names) -> Iterator[str]:
    groups = groups_of(answer)
    count = sum(map(len, groups))
    if elsewhere := elsewhere_of(groups):
        yield f"elsewhere: {names.folded(elsewhere)} ({len(elsewhere)} of {count})"
    elif len(groups) > 1:
        yield f"{count_text(count, 'node')} at {count_text(len(groups), 'place')}"


def _folded(text: str, indent: str, width: int | None) -> list[str]:
    if width is None:
        return [indent + text]
    indent = indent[: width // 3]
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent + 2 * _INDENT, break_on_hyphens=False
    )


def told(answer: JobStacks, names: Names) -> Iterator[str]:
    """What is not shown, and why."""
    size = len(answer.places)
    for each in (*answer.silent, *answer.remarks):
        yield f"{names.folded(ranks_in(each.ranks, size))}: {shown_text(each.text)}"
    if answer.left_out:
        yield f"{answer.left_out} more thread{' is' if answer.left_out == 1 else 's are'} not shown"


def as_json(info: StacksInfo) -> str:
    """One object.  frames: the outermost first."""
    import json

    value = {
        "job": info.job,
        "nodes": info.nodes,
        "elsewhere": info.elsewhere,
        "stacks": [{"frames": each.frames, "threads": each.threads, "nodes": each.nodes} for each in info.stacks],
        "left_out": info.left_out,
        "remarks": [{"remark": each.text, "nodes": each.nodes} for each in info.remarks],
        "silent": [{"reason": each.text, "nodes": each.nodes} for each in info.silent],
    }
    return json.dumps(value, indent=2) + "\n"
