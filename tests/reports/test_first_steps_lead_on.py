"""The messages that a new user meets first say what to do next, and README's examples do what they say."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.lab import HEAD, Lab
from gproc.cli.parse import parse
from gproc.locales import Options, Role, load
from gproc.nodespec import NodeSpec, Place
from tests.laboratory import laboratory
from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster, Daemon, Slave

README = Path(__file__).parents[2] / "README.md"
CLUSTERS = README.parent / "docs" / "clusters.md"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory(["1"], 1000) as lab:
        yield lab


def test_the_first_error_of_a_second_machine_says_that_the_master_serves_its_own_machine_alone(
    lab: Lab, tmp_path: Path
) -> None:
    cluster = Cluster(tmp_path / "c")
    own = (f"--socket={cluster.socket}", "-cmdport=0", f"--store={tmp_path}/m")
    master = Daemon([*lab.entry(HEAD), *gproc_as(None), "m", *own], cluster.env, cluster.work)
    port = master.says(r"master on \S+, port (\d+)").group(1)
    master.says("it listens at 127.0.0.1, so only slaves of this machine can join; .* say -locale or -myAddress$")
    words = (f"--parent={lab.address(HEAD)}:{port}", "-cmdport=0", f"--store={tmp_path}/s", f"-binRoot={tmp_path}/x")
    slave = Slave([*lab.entry("1"), *gproc_as(None), "s", *words], cluster.env, cluster.work)
    said = slave.says("cannot join: ").string
    assert "Connection refused: is gproc running there, on that port? Without -locale or -myAddress" in said
    for daemon in (slave, master):
        daemon.kill(15)
        daemon.wait()


def test_a_slave_of_the_masters_own_machine_gets_no_such_hint(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    slave = cluster.launch_slave(parent=1)
    assert slave.says("cannot join: ").string.endswith("127.0.0.1:1: Connection refused; trying again")
    cluster.end(slave, 15)
    cluster.stop()


def test_a_port_that_is_taken_asks_whether_another_master_runs(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    words = ("m", f"-cmdport={cluster.port}", f"--socket={tmp_path}/g", f"--store={tmp_path}/m")
    done = subprocess.run([*gproc_as(None), *words], env=cluster.env, capture_output=True, text=True)
    assert done.returncode == 125
    assert done.stderr == (
        f"gproc: cannot listen on port {cluster.port}: Address already in use; does another master run on this machine?"
        " Stop it, or choose another with --cmd-port\n"
    )
    cluster.stop()


@pytest.mark.parametrize("source", ["./.:/f", "1:/f", "=1/4-7:/etc/motd"])
def test_a_copy_from_nodes_by_cp_is_told_to_use_get(tree: Cluster, source: str) -> None:
    done = tree.command("cp", source, "out")
    assert done.returncode == 2
    assert done.stderr.decode() == (f"gproc: cp copies files to nodes; to copy {source} here: gproc get {source} out\n")


def locale_of_the_page(tmp_path: Path) -> Path:
    """The locale file that docs/clusters.md shows."""
    _, _, rest = CLUSTERS.read_text().partition("`cluster.toml`:\n\n")
    lines = rest[: rest.index("\n\n")].splitlines()
    assert 0 < len(lines) <= 10
    path = tmp_path / "cluster.toml"
    path.write_text("\n".join(line.removeprefix("    ") for line in lines))
    return path


def places_in(locale: str, names: Sequence[str]) -> dict[str, Place]:
    """Where each host stands; a parent comes before its children in the end, in any order of `names`."""
    chosen = load(locale)
    parents: dict[str, tuple[int, str | None]] = {}
    for name in names:
        placement = chosen.place(Role.SLAVE, name, Options())
        assert placement.parent is not None and placement.id is not None
        parents[name] = placement.id, None if placement.parent.is_master else placement.parent.name
    places: dict[str, Place] = {}

    def place_of(name: str) -> Place:
        id, above = parents[name]
        return Place((*(place_of(above) if above else ()), id))

    for name in names:
        places[name] = place_of(name)
    return places


def selected(text: str, places: dict[str, Place]) -> int:
    return len(list(NodeSpec.parse(text).select(list(places.values()), None)))


def test_the_cluster_in_ten_lines_is_the_tree_that_the_page_says(tmp_path: Path) -> None:
    places = places_in(str(locale_of_the_page(tmp_path)), [f"node{number:03}" for number in range(1, 401)])
    assert [places[name] for name in ("node001", "node021", "node002")] == [(1,), (2,), (1, 1)]
    assert (selected("./.", places), selected("1/.", places), selected(".", places)) == (400, 20, 20)


def test_in_kane_the_first_rack_is_as_readme_says() -> None:
    places = places_in("kane", [f"kn{number}" for number in range(1, 81)])
    assert (selected("./.", places), selected("1/.", places), selected("1-80", places)) == (80, 20, 4)


def test_every_gproc_command_of_readme_is_one() -> None:
    lines = [line.strip() for line in README.read_text().splitlines() if line.startswith("    gproc ")]
    assert len(lines) > 10
    for line in lines:
        parse(line.partition("  #")[0].split()[1:])
