"""`gproc start -locale=slurm` in allocations of a real Slurm: slurmctld, slurmd and munge of Debian."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator

import pytest

from gproc import native
from tests.slurm.lab import SlurmLab, why_not

pytestmark = pytest.mark.stress

TOPOLOGY = "SwitchName=a Nodes=n[1-2]\nSwitchName=b Nodes=n[3-4]\nSwitchName=top Switches=a,b\n"
PLACES = "gproc i | grep -w up | cut -f1,2 | tr '\\t' ' ' | paste -s -d,"
ENVIRONMENTS = (
    "for p in /proc/[0-9]*; do if tr '\\0' ' ' <$p/cmdline | grep -q -e _started -e srun; then"
    " cat $p/environ $p/cmdline; fi; done 2>/dev/null"
)


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmLab]:
    if reason := native.why_missing() or why_not():
        pytest.skip(reason)
    lab = SlurmLab(4)
    yield lab
    lab.close()


@pytest.fixture
def cluster(slurm: SlurmLab) -> Iterator[SlurmLab]:
    """With nothing of gproc in it, before and after."""
    (slurm.place / "topology.conf").unlink(missing_ok=True)
    yield slurm
    slurm.run("scancel -u root")  # of a test that failed
    slurm.await_nothing()


def started(cluster: SlurmLab, count: int, script: str) -> subprocess.CompletedProcess[str]:
    return cluster.run(cluster.in_allocation(count, f"set -e\ngproc start -locale=slurm >&2\n{script}"))


def test_the_nodes_of_an_allocation_become_a_tree_that_ends_with_it(cluster: SlurmLab) -> None:
    done = started(cluster, 3, f"{PLACES}\ngproc e -l ./. hostname | sort")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 n1,2 n2,3 n3\n1: n1\n2: n2\n3: n3\n"
    assert "3 up" in done.stderr
    cluster.await_nothing()


def test_racks_are_the_switches_of_topology_conf(cluster: SlurmLab) -> None:
    (cluster.place / "topology.conf").write_text(TOPOLOGY)
    done = started(cluster, 4, f"{PLACES}\ngproc e ./. /bin/true")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 n1,1/1 n2,2 n3,2/1 n4\n"


def test_nodes_are_stopped_and_started_again_by_srun(cluster: SlurmLab) -> None:
    done = started(cluster, 2, f"gproc stop 2\n{PLACES}\ngproc start -locale=slurm >&2\ngproc restart 1\n{PLACES}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 n1,2 n2"
    assert "1 n1" in done.stdout.splitlines()
    assert "Loop" not in done.stderr


def test_a_job_that_is_cancelled_takes_master_and_slaves_along(cluster: SlurmLab) -> None:
    process = cluster.begin(
        cluster.in_allocation(2, "gproc start -locale=slurm >&2\ngproc e ./. /bin/sh -c 'echo runs; sleep 1000'")
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "runs\n"
    assert len(cluster.ours()) > 2
    cluster.run("scancel -u root")
    cluster.await_nothing()
    process.communicate()


def test_a_batch_script_has_its_master_on_its_first_node(cluster: SlurmLab) -> None:
    script = f"gproc start -locale=slurm >&2\n{PLACES}\ngproc e -l ./. hostname | sort\ngproc stop"
    words = cluster.in_allocation(2, script).replace("salloc", "sbatch --wait --output=out")
    done = cluster.run(f"{words}; cat out")
    assert done.stdout.splitlines()[-3:] == ["1 n1,2 n2", "1: n1", "2: n2"], done.stdout


def test_no_secret_is_in_an_argument_or_an_environment(cluster: SlurmLab) -> None:
    shown = " | tr '\\0' '\\n'"
    script = f"srun --overlap --ntasks-per-node=1 sh -c {shlex.quote(ENVIRONMENTS)}{shown}; {ENVIRONMENTS}{shown}"
    done = started(cluster, 2, script)
    assert "__started" in done.stdout
    assert "PRIVATE KEY" not in done.stdout
    assert "CERTIFICATE" not in done.stdout


def test_a_master_with_nodes_of_another_allocation_is_not_taken(cluster: SlurmLab) -> None:
    other = cluster.begin(cluster.in_allocation(1, "gproc start -locale=slurm --json\nread -r _ <$PWD/go"))
    subprocess.run(["mkfifo", str(cluster.place / "go")], check=True)
    try:
        assert other.stdout is not None
        while other.stdout.readline() not in ("}\n", ""):
            pass
        done = started(cluster, 1, "")
        assert done.returncode == 2
        assert "nodes that are not of this allocation, n1: end it by gproc stop, or give another" in done.stderr
    finally:
        (cluster.place / "go").write_text("\n")
        other.communicate()
        (cluster.place / "go").unlink()


def test_outside_of_an_allocation_it_says_so(cluster: SlurmLab) -> None:
    done = cluster.run("gproc start -locale=slurm")
    assert (done.returncode, done.stderr.count("there is no allocation here: use it in salloc or sbatch")) == (125, 1)
