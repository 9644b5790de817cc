"""A payload to many hosts, each behind a link of limited rate: how near the time is to payload / rate.

That quotient is the least that any distribution can take.  A star pays it once per child of a rack master.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import MIB, Figure, Settings, samples
from bench.lab import Lab, Traffic
from bench.payload import DATE, cold_root, random_file
from bench.tree import Tree

BUDGET = 1.25
"""DESIGN section 11, for 16 MiB to 40 hosts at 50 Mbit/s; the original took 22."""


def measure(settings: Settings) -> Iterator[Figure]:
    """Raises: NoLab where there can be none, LabFailed where its hosts could not be made."""
    size_bytes = settings.lab_mib * MIB
    least_s = size_bytes * 8 / (settings.lab_mbit * 1e6)
    for hosts in settings.lab_hosts:
        rack_size = min(settings.rack_size, hosts)
        racks = hosts // rack_size
        names = [
            name
            for rack in range(1, racks + 1)
            for name in (str(rack), *(f"{rack}/{number}" for number in range(1, rack_size)))
        ]
        with Lab(names, settings.lab_mbit) as lab, Tree(racks, rack_size, lab) as tree:
            tree.run("e", "./.", DATE)
            root = cold_root(f"{tree.place}/root")
            # The program goes first, so that what is timed is the payload.
            tree.run("e", "-r", root, "./.", DATE)
            random_file(f"{root}/payload", size_bytes)
            before = lab.traffic()
            done = tree.run("e", "-r", root, "-f", "/payload", "./.", DATE)
            moved = {name: traffic - before[name] for name, traffic in lab.traffic().items()}
        full_size = (hosts, settings.lab_mib, settings.lab_mbit) == (40, 16, 50)
        yield Figure(
            what=f"{settings.lab_mib} MiB to {hosts} hosts at {settings.lab_mbit} Mbit/s, time / (payload / rate)",
            unit="x", measured=samples([done.wall_s / least_s]), budget=BUDGET if full_size else None,
            note=f"{done.wall_s:.1f} s; {_busiest(moved, size_bytes)}",
        )  # fmt: skip


def _busiest(moved: dict[str, Traffic], size_bytes: int) -> str:
    """The link with the most bytes in one direction, in payloads."""
    name = max(moved, key=lambda name: max(moved[name].sent, moved[name].received))
    most = max(moved[name].sent, moved[name].received)
    return (
        f"busiest link: {name}'s, {most / size_bytes:.1f} payloads; "
        f"out of the master: {moved['master'].sent / size_bytes:.1f}"
    )
