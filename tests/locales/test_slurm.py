"""Locale slurm: nodes and racks from Slurm's variables and topology.conf.  tests/slurm has a real Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from gproc.errors import LocaleError
from gproc.locales import Options, Role
from gproc.locales.slurm import Slurm, racks_of


def allocation(nodes: str, **more: str) -> Slurm:
    return Slurm({"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": nodes, "SLURM_CONF": "/nowhere/slurm.conf"} | more)


def places(locale: Slurm) -> dict[str, tuple[int | None, str]]:
    """Number and parent of each node; "" for the master."""
    found = {}
    for name in locale.nodes:
        placement = locale.place(Role.SLAVE, name, Options())
        assert placement.parent is not None
        found[name] = (placement.id, "" if placement.parent.is_master else placement.parent.host)
    return found


def test_a_few_nodes_are_children_of_the_master() -> None:
    locale = allocation("gpu[01-02],login1")
    assert places(locale) == {"gpu01": (1, ""), "gpu02": (2, ""), "login1": (3, "")}
    assert locale.first_and_last() == (1, 3)
    assert locale.node(2).name == "gpu02"


def test_many_nodes_have_racks_of_32() -> None:
    found = places(allocation("n[1-40]"))
    assert (found["n1"], found["n2"], found["n32"]) == ((1, ""), (1, "n1"), (31, "n1"))
    assert (found["n33"], found["n40"]) == ((2, ""), (7, "n33"))


def test_very_many_nodes_have_racks_as_large_as_there_are_racks() -> None:
    racks = racks_of([f"n{number}" for number in range(10_000)], [])
    assert (len(racks), max(map(len, racks))) == (100, 100)


def test_switches_and_blocks_of_topology_conf_are_racks(tmp_path: Path) -> None:
    (tmp_path / "topology.conf").write_text(
        "# SwitchName=no Nodes=n[1-9]\n"
        "SwitchName=a LinkSpeed=1 \\\n  Nodes=n[1-3]\n"
        "switchname=b nodes=n4,n[5-6] # leaf\n"
        "BlockName=c Nodes=n[7-8]\n"
        "SwitchName=top Switches=a,b\nSwitchName=bad Nodes=n[9\n"
    )
    found = places(allocation("n[2-5,7,9]", SLURM_CONF=f"{tmp_path}/slurm.conf"))
    assert found == {
        "n2": (1, ""), "n3": (1, "n2"), "n4": (2, ""), "n5": (1, "n4"), "n7": (3, ""), "n9": (4, ""),
    }  # fmt: skip


def test_if_all_are_at_one_switch_the_tree_is_flat(tmp_path: Path) -> None:
    (tmp_path / "topology.conf").write_text("SwitchName=a Nodes=n[1-9]\n")
    assert places(allocation("n[2-3]", SLURM_CONF=f"{tmp_path}/slurm.conf")) == {"n2": (1, ""), "n3": (2, "")}


def test_a_full_host_name_is_its_node_and_another_host_is_none() -> None:
    locale = allocation("n[1-2]")
    assert locale.place(Role.SLAVE, "n2.cluster.org", Options()).id == 2
    with pytest.raises(LocaleError, match="no node of this allocation"):
        locale.place(Role.SLAVE, "n3", Options())


def test_the_master_is_where_srun_was_called() -> None:
    placement = allocation("n1", SLURM_LAUNCH_NODE_IPADDR="10.0.0.9").place(Role.SLAVE, "n1", Options())
    assert placement.parent is not None
    assert (placement.parent.host, placement.parent.is_master) == ("10.0.0.9", True)


@pytest.mark.parametrize("environ", [{}, {"SLURM_JOB_NODELIST": "n1"}, {"SLURM_JOB_ID": "7"}])
def test_without_an_allocation_there_is_no_such_locale(environ: dict[str, str]) -> None:
    with pytest.raises(LocaleError, match="salloc or sbatch"):
        Slurm(environ)


def test_a_list_that_cannot_be_read_is_named() -> None:
    with pytest.raises(LocaleError, match="SLURM_JOB_NODELIST"):
        allocation("n[1-")
