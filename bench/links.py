"""A payload to many hosts, each behind a link of limited rate: how near the time is to payload / rate.

That quotient is the least that any distribution can take; headers of TCP, IP and Ethernet make it 1.05 on the wire.  A
star pays it once for each child.  Two trees: flat, where every host is a child of the head (locale kf), and racks of
20 (locale kane).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Final

import msgspec

from bench import processes, ssh
from bench.figures import MIB, Figure, Settings, Yardstick, number, samples
from bench.lab import HEAD, Lab, LabFailed, Traffic
from bench.payload import cold_root, random_file
from bench.tree import Done, Tree, cpu_note

BUDGET: Final = 1.25
"""DESIGN section 11, for 16 MiB to 40 hosts at 50 Mbit/s; the original took 22."""

GROWTH_BUDGET: Final = 1.1
WARM_BUDGET_KB: Final = 50.0
RUNS: Final = 3

TRUE: Final = "/bin/true"

SCP_HOSTS: Final = 10
"""One connection after the other takes as long for each host: more of them would tell nothing more."""


class Layout(msgspec.Struct, frozen=True):
    """A tree's shape.  rack_size: with the rack master; 1 is flat."""

    name: str
    racks: int
    rack_size: int

    @property
    def hosts(self) -> int:
        return self.racks * self.rack_size

    @property
    def nodes(self) -> str:
        """All of them, as a node specification."""
        return "." if self.rack_size == 1 else "./."

    def leaves(self) -> dict[str, list[str]]:
        """Of each rack."""
        return {
            str(rack): [f"{rack}/{number}" for number in range(1, self.rack_size)] for rack in range(1, self.racks + 1)
        }

    def names(self) -> list[str]:
        return [name for rack, leaves in self.leaves().items() for name in (rack, *leaves)]


class Crossing(msgspec.Struct, frozen=True):
    """One payload that went to every host, and then again.

    moved: over each host's link; warm: the second time.  busy: share of the processors' time, whoever used it.
    """

    done: Done
    moved: dict[str, Traffic]
    warm: dict[str, Traffic]
    busy: float


def measure(settings: Settings) -> Iterator[Figure]:
    """Raises: NoLab where there can be none, LabFailed where its hosts could not be made or got nothing."""
    flat = [Layout("flat", hosts, 1) for hosts in settings.lab_hosts]
    sizes = [(hosts, min(settings.rack_size, hosts)) for hosts in settings.lab_hosts]
    racks = [Layout(f"racks of {size}", hosts // size, size) for hosts, size in sizes]
    for layouts in (flat, racks):
        medians = {}
        for layout in layouts:
            time, *others = _figures(layout, settings)
            medians[layout.hosts] = time.measured.median
            yield time
            yield from others
        few, many = min(medians), max(medians)
        if few != many:
            yield Figure(
                what=f"{layouts[0].name.split()[0]}, time to {many} hosts / time to {few}", unit="x",
                measured=samples([medians[many] / medians[few]]), budget=GROWTH_BUDGET,
            )  # fmt: skip


def _figures(layout: Layout, settings: Settings) -> list[Figure]:
    """The time, then the bytes."""
    size_bytes = settings.lab_mib * MIB
    least_s = size_bytes * 8 / (settings.lab_mbit * 1e6)
    with Lab(layout.names(), settings.lab_mbit) as lab:
        with Tree(layout.racks, layout.rack_size, lab) as tree:
            root = cold_root(f"{tree.place}/root", TRUE)
            # The program and another payload go first: what is timed is neither the program nor the first touch.
            cross(tree, lab, layout, f"{root}/first", size_bytes)
            before = tree.cpu_times()
            runs = range(min(RUNS, settings.runs))
            crossings = [cross(tree, lab, layout, f"{root}/payload.{run}", size_bytes) for run in runs]
            cpu = cpu_note(tree, before, [crossing.done for crossing in crossings])
        yardstick, reason = _yardstick(lab, layout, settings, size_bytes, least_s)
    what = f"{settings.lab_mib} MiB to {layout.hosts} hosts at {settings.lab_mbit} Mbit/s, {layout.name}"
    full_size = (layout.hosts, settings.lab_mib, settings.lab_mbit) == (40, 16, 50)
    busy = max(crossing.busy for crossing in crossings)
    return [
        Figure(
            what=f"{what}, time / (payload / rate)", unit="x", yardstick=yardstick,
            measured=samples([crossing.done.wall_s / least_s for crossing in crossings]),
            budget=BUDGET if full_size else None,
            note="; ".join([f"processors {busy:.0%} busy", f"{cpu}, the warm one's too", *reason]),
        ),
        Figure(
            what=f"{what}, over the busiest link", unit="payloads",
            measured=samples([_busiest(crossing.moved)[1] / size_bytes for crossing in crossings]),
            note="; ".join(
                f"{_busiest(crossing.moved)[0]}'s, out of the head {number(crossing.moved[HEAD].sent / size_bytes)}"
                for crossing in crossings
            ),
        ),
        Figure(
            what=f"{what}, the same again: out of the head", unit="kB", budget=WARM_BUDGET_KB,
            measured=samples([crossing.warm[HEAD].sent / 1000 for crossing in crossings]),
        ),
    ]  # fmt: skip


def _yardstick(
    lab: Lab, layout: Layout, settings: Settings, size_bytes: int, least_s: float
) -> tuple[Yardstick | None, list[str]]:
    """For a flat tree a loop of scp, for racks clush's tree: in the lab's hosts; or why there is none."""
    if (reason := ssh.missing()) is not None:
        return None, [f"no yardstick: {reason}"]
    if layout.rack_size > 1 and ssh.clush_path() is None:
        return None, ["no yardstick: clush is not installed (the extra `bench`)"]
    if layout.rack_size > 1 and layout.hosts not in settings.clush_hosts:
        return None, []
    with tempfile.TemporaryDirectory(prefix="gproc-bench-") as place:
        random_file(f"{place}/payload", size_bytes)
        if layout.rack_size > 1:
            with ssh.Shells(lab, layout.names()) as shells:
                took_s = shells.clush_copy(f"{place}/payload", layout.leaves())
            return Yardstick("clush --copy by the same tree", samples([took_s / least_s])), []
        hosts = layout.names()[:SCP_HOSTS]
        with ssh.Shells(lab, hosts) as shells:
            took_s = shells.scp_loop(f"{place}/payload") * layout.hosts / len(hosts)
        scaled = "" if len(hosts) == layout.hosts else f", scaled from {len(hosts)}"
        return Yardstick(f"scp to one host after the other{scaled}", samples([took_s / least_s])), []


def cross(tree: Tree, lab: Lab, layout: Layout, path: str, size_bytes: int) -> Crossing:
    """Send a new file to all hosts, twice.  path: below a root that has TRUE, so that no node has it there.

    Raises: LabFailed where less went over a link than the payload has, so that something else was measured.
    """
    root, _, name = path.rpartition("/")
    random_file(path, size_bytes)
    command = ("e", "-r", root, "-f", f"/{name}", layout.nodes, TRUE)
    before = lab.traffic()
    idle = processes.machine_time()
    done = tree.run(*command)
    busy = processes.machine_time().busy_since(idle)
    between = lab.traffic()
    tree.run(*command)
    moved = {host: traffic - before[host] for host, traffic in between.items()}
    warm = {host: traffic - between[host] for host, traffic in lab.traffic().items()}
    for host in layout.names():
        if moved[host].received < size_bytes:
            raise LabFailed(f"{moved[host].received} bytes came to {host}, less than the payload")
    return Crossing(done, moved, warm, busy)


def _busiest(moved: dict[str, Traffic]) -> tuple[str, int]:
    """The link with the most bytes in one direction."""
    name = max(moved, key=lambda name: max(moved[name].sent, moved[name].received))
    return name, max(moved[name].sent, moved[name].received)
