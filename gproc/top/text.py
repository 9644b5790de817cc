"""What stands on the screens of `gproc top`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.text import Text

from gproc.client.known import JobInfo, TransferInfo, command_of
from gproc.client.tree import NodeStatus
from gproc.client.watching import Look
from gproc.shown import count_text, shown_text

STATE_STYLES: Final = {
    "up": "green", "plain": "yellow", "drained": "blue", "silent": "yellow", "unreachable": "dark_orange",
    "down": "red", "running": "green", "ending": "yellow", "failed": "red", "lost": "red", "done": "",
}  # fmt: skip

JOB_COLUMNS: Final = ("Job", "User", "Nodes", "State", "Since", "Command")


def summary(look: Look) -> Text:
    """One line about all."""
    if look.tree is None:
        return Text(look.trouble, "red")
    counts = Counter(node.state for node in look.tree.nodes)
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    running = sum(1 for job in look.jobs if job.state in ("running", "ending"))
    began = since(look.tree.since_s)
    jobs = "1 job runs" if running == 1 else f"{running} jobs run"
    return Text(f"master on {shown_text(look.tree.master)} since {began} · {states or 'no nodes'} · {jobs}")


def node_line(node: NodeStatus) -> Text:
    line = Text(f"{node.node}  ")
    line.append(shown_text(node.host), "bold")
    line.append(f"  {node.state}", STATE_STYLES[node.state])
    if node.load is not None:
        line.append(f"  load {node.load:.2f}")
    if node.jobs:
        line.append(f"  {count_text(node.jobs, 'job')}", "cyan")
    if node.why:
        line.append(f"  {shown_text(node.why)}")
    return line


def node_facts(node: NodeStatus, jobs: Sequence[JobInfo]) -> Text:
    """jobs: those that run there."""
    load = "" if node.load is None else f"{node.load:.2f}"
    pairs = [
        ("Host", shown_text(node.host)), ("Address", shown_text(node.address)), ("State", node.state),
        ("Since", since(node.since_s)), ("Why", shown_text(node.why)),
        ("No private view", shown_text(node.plain_because)), ("Load", load), ("Jobs", str(node.jobs)),
        *((f"Job {job.number}", command_of(job)) for job in jobs),
    ]  # fmt: skip
    return facts(pairs)


def job_facts(job: JobInfo, user: str) -> Text:
    pairs = [
        ("State", state_of(job)[1]), ("User", user), ("Began", since(job.started_s)),
        ("Ended", since(job.ended_s) if job.ended_s else ""), ("Name", shown_text(job.name)), ("Nodes", job.nodes),
        ("Command", command_of(job)),  # the longest is last: a small terminal shows the beginning of all this
    ]  # fmt: skip
    return facts(pairs)


def job_cells(job: JobInfo, user: str) -> tuple[Text, ...]:
    kind, words = state_of(job)
    if job.transfer is not None:
        words = transfer_text(job.transfer)
    cells = (str(job.number), user, job.nodes, words, since(job.ended_s or job.started_s), command_of(job))
    return tuple(Text(cell, STATE_STYLES[kind] if cell is words else "") for cell in cells)


def transfer_text(transfer: TransferInfo) -> str:
    """Such as "cp 45 % of 1.2 GiB, 3 of 20 nodes"."""
    size = size_text(transfer.bytes)
    if transfer.total_bytes:
        size = f"{100 * transfer.bytes // transfer.total_bytes} % of {size_text(transfer.total_bytes)}"
    return f"{transfer.kind} {size}, {transfer.complete} of {transfer.nodes} nodes"


def size_text(size: int) -> str:
    """In binary units, such as "1.2 GiB"."""
    for unit, bytes_ in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} B"


def state_of(job: JobInfo) -> tuple[str, str]:
    """A key of STATE_STYLES, and words."""
    if job.state != "ended":
        return job.state, job.state
    return ("failed", f"failed, {job.returncode}") if job.returncode else ("done", "done")


def facts(pairs: Sequence[tuple[str, str]]) -> Text:
    text = Text()
    for name, value in pairs:
        if value:
            text.append(f"{name:<16}", "dim").append(f"{value}\n")
    return text


def since(seconds: float) -> str:
    """The time of day, with the date if it was another day."""
    then = time.localtime(seconds)
    is_today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M", then)
