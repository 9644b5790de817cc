"""A payload to many hosts, each behind a link of limited rate: how near the time comes to payload / rate.

No distribution can take less than payload / rate; headers of TCP, IP and Ethernet make it 1.05 times that.  A star
takes that time once for each child.  There are two trees: a flat one, in which every host is a child of the head
(locale kf), and racks of 20 (locale kane).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from bench import processes, ssh
from bench.cleanup import temporary_directory
from bench.figures import MIB, Figure, Settings, Yardstick, number, samples
from bench.lab import HEAD, Lab, LabFailed, Traffic
from bench.payload import cold_root, random_file
from bench.tree import Done, Tree, cpu_note

BUDGET: Final = 1.25
"""For 16 MiB to 40 hosts at 50 Mbit/s, times payload / rate; the original took 22."""

GROWTH_BUDGET: Final = 1.1
WARM_BUDGET_KB: Final = 50.0
RUNS: Final = 3

TRUE: Final = "/bin/true"

SCP_HOSTS: Final = 10
"""Connections in sequence take the same time for each host, so more hosts would show nothing new."""


class Layout(msgspec.Struct, frozen=True):
    """A tree's shape.  rack_size: nodes of a rack with its master; 1 means flat."""

    name: str
    racks: int
    rack_size: int

    @property
    def hosts(self) -> int:
        return self.racks * self.rack_size

    @property
    def nodes(self) -> str:
        """All nodes, as a node specification."""
        return "." if self.rack_size == 1 else "./."

    def leaves(self) -> dict[str, list[str]]:
        """The leaves of each rack."""
        return {
            str(rack): [f"{rack}/{number}" for number in range(1, self.rack_size)] for rack in range(1, self.racks + 1)
        }

    def names(self) -> list[str]:
        return [name for rack, leaves in self.leaves().items() for name in (rack, *leaves)]


class Crossing(msgspec.Struct, frozen=True):
    """One payload that was sent to every host, and then sent again.

    moved: the traffic of each host's link; warm: the same for the second time.  busy: the share of the processors' time
    that any process used.
    """

    done: Done
    moved: dict[str, Traffic]
    warm: dict[str, Traffic]
    busy: float


def measure(settings: Settings) -> Iterator[Figure]:
    """Raises: NoLab if there can be none; LabFailed if its hosts could not be made or did not get the payload."""
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
            # The program and another payload go first, so that neither the program nor first touches are timed.
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
            note="; ".join([f"processors {busy:.0%} busy", f"{cpu}, with the warm run", *reason]),
        ),
        Figure(
            what=f"{what}, over the busiest link", unit="payloads",
            measured=samples([_busiest(crossing.moved)[1] / size_bytes for crossing in crossings]),
            note="; ".join(
                f"{_busiest(crossing.moved)[0]}'s; the head sent {number(crossing.moved[HEAD].sent / size_bytes)}"
                for crossing in crossings
            ),
        ),
        Figure(
            what=f"{what}, sent again: bytes out of the head", unit="kB", budget=WARM_BUDGET_KB,
            measured=samples([crossing.warm[HEAD].sent / 1000 for crossing in crossings]),
        ),
    ]  # fmt: skip


def _yardstick(
    lab: Lab, layout: Layout, settings: Settings, size_bytes: int, least_s: float
) -> tuple[Yardstick | None, list[str]]:
    """On the lab's hosts, a loop of scp for a flat tree, clush's tree for racks; or the reason why there is none."""
    if (reason := ssh.missing()) is not None:
        return None, [f"no yardstick: {reason}"]
    if layout.rack_size > 1 and ssh.clush_path() is None:
        return None, ["no yardstick: clush is not installed (the extra `bench`)"]
    if layout.rack_size > 1 and layout.hosts not in settings.clush_hosts:
        return None, []
    with temporary_directory() as place:
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
    """Send a new file to all hosts, twice.  path: below a root that has TRUE, so that no node has the file there.

    Raises: LabFailed if fewer bytes than the payload went over a link: then something else was measured.
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
            raise LabFailed(f"{host} received {moved[host].received} bytes, less than the payload")
    return Crossing(done, moved, warm, busy)


def _busiest(moved: dict[str, Traffic]) -> tuple[str, int]:
    """The link with the most bytes in one direction."""
    name = max(moved, key=lambda name: max(moved[name].sent, moved[name].received))
    return name, max(moved[name].sent, moved[name].received)
