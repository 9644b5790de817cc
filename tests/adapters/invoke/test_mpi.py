"""Programs of MPI through the Invoke Server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.adapters.invoke.client import Client, await_the_end_of_jobs, redirected
from tests.patience import PATIENCE_S, until
from tests.system.cluster import Cluster

LAUNCHER = """
case "$1" in --version) echo "HYDRA build details:"; exit;; esac
while [ $# -gt 0 ]; do
    case "$1" in
        -launcher-exec) agent=$2; shift 2;;
        -hosts) hosts=$2; shift 2;;
        -wdir) directory=$2; shift 2;;
        -n | -launcher) shift 2;;
        *) break;;
    esac
done
for host in $(echo "$hosts" | tr , ' '); do
    "$agent" -x "${host%:*}" "cd ${directory:-.}; $1 ${host#*:} $2" &
    children="$children $!"
done
status=0
for child in $children; do wait "$child" || status=$?; done
exit $status
"""
"""As mpiexec of MPICH: it starts one command on each host by its agent.  The command gets the number of ranks."""

# The ranks send nothing to each other: with MPICH 4.0.2 over TCP a program that did may hang in MPI_Finalize, without
# gproc too (8 of 40 runs with UCX_TLS=tcp,self on one machine).
PROGRAM = """
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    int rank, size;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    printf("%d of %d on %s\\n", rank, size, getenv("GPROC_NODE"));
    MPI_Finalize();
    return 0;
}
"""


@pytest.mark.parametrize("staging", ["true", "false"])
def test_the_ranks_of_a_program_are_started_by_its_own_launcher(
    tree: Cluster, client: Client, tmp_path: Path, staging: str
) -> None:
    launcher = tree.write_program("mpirun", LAUNCHER)
    program = tree.write_program("ranks", 'echo "$GPROC_NODE" "$@" "$A"')
    lines = [("gproc_nodes", "1,=1/2"), ("gproc_mpirun", launcher)]
    given = {"hostname": "any", "executable_path": program, "count": 3, "backend": "MPI", "environment": "A=b"}
    said = client.run(*lines, staging=staging, argument="x", **given, **redirected(tmp_path))
    assert (said, (tmp_path / "err").read_text()) == (["ACTIVE", "DONE"], "")
    assert sorted((tmp_path / "out").read_text().splitlines()) == ["1 2 x b", "1/2 1 x b"]


def test_a_launcher_that_fails_makes_its_job_fail(tree: Cluster, client: Client) -> None:
    launcher = tree.write_program("mpirun", LAUNCHER)
    program = tree.write_program("fails", '[ "$GPROC_NODE" != 3 ] || exit 4')
    lines = [("gproc_nodes", "./."), ("gproc_mpirun", launcher), ("gproc_reasons", "true")]
    said = client.run(*lines, hostname="any", executable_path=program, count=3, backend="BLACS", staging="true")
    assert said[-1] == f"FAILED {launcher}: exit status 4"


@pytest.mark.parametrize("ending", ["destroyed", "client", "server"])
def test_a_program_of_mpi_ends_everywhere(tree: Cluster, tmp_path: Path, ending: str) -> None:
    launcher = tree.write_program("mpirun", LAUNCHER)
    program = tree.write_program("stays", 'trap "" TERM; echo up; sleep 1000')
    client = Client(tree)
    job = client.begun(
        ("gproc_nodes", "./."), ("gproc_mpirun", launcher),
        hostname="any", executable_path=program, count=3, backend="MPI", **redirected(tmp_path),
    )  # fmt: skip
    assert client.notify() == f"STATUS_NOTIFY {job} ACTIVE"
    await_lines(tmp_path / "out", 3)
    match ending:
        case "destroyed":
            assert client.ask(f"JOB_DESTROY {job}") == "S"
            assert client.notify() == f"STATUS_NOTIFY {job} DONE"
        case "server":
            client.process.kill()
    client.close_pipes()
    client.process.wait(PATIENCE_S)
    await_the_end_of_jobs(tree)


def test_a_launcher_that_has_closed_its_output_ends_too(tree: Cluster, client: Client, tmp_path: Path) -> None:
    """Neither its time limit nor its client's JOB_DESTROY reached it: it ran on for ever."""
    silent = f'case "$1" in --version) echo "HYDRA"; exit;; esac; exec >&- 2>&-; echo > {tmp_path}/silent; sleep 1000'
    launcher = tree.write_program("mpirun", silent)
    given = {"hostname": "any", "executable_path": "/bin/true", "count": 1, "backend": "MPI", "staging": "false"}
    job = client.begun(("gproc_nodes", "./."), ("gproc_mpirun", launcher), **given)
    assert client.notify() == f"STATUS_NOTIFY {job} ACTIVE"
    until((tmp_path / "silent").exists, "the launcher has closed its output")
    assert client.ask(f"JOB_DESTROY {job}") == "S"
    assert client.notify() == f"STATUS_NOTIFY {job} DONE"


def await_lines(path: Path, count: int) -> None:
    """Wait until a file has so many lines."""
    words = ["timeout", str(PATIENCE_S), "tail", "-n", "+1", "-f", str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        for _ in range(count):
            assert following.stdout.readline()
        following.kill()


@pytest.mark.skipif(shutil.which("mpicc") is None, reason="needs mpicc and mpirun of MPICH")
def test_ranks_of_mpich_run_on_different_nodes(tree: Cluster, client: Client, tmp_path: Path) -> None:
    (tmp_path / "p.c").write_text(PROGRAM)
    subprocess.run(["mpicc", "-o", tmp_path / "p", tmp_path / "p.c"], check=True)
    lines = [("gproc_nodes", "./.")]
    given = {"hostname": "any", "executable_path": tmp_path / "p", "count": 4, "backend": "MPI", "staging": "true"}
    reply = client.create(*lines, **given, **redirected(tmp_path))
    if "MPICH's family" in reply:
        pytest.skip(reply)
    job = client.notify().split()[3]
    said = client.statuses(job)
    assert (said, (tmp_path / "err").read_text()) == (["ACTIVE", "DONE"], "")
    told = [line.split(" on ") for line in sorted((tmp_path / "out").read_text().splitlines())]
    assert [rank for rank, _ in told] == [f"{rank} of 4" for rank in range(4)]
    assert {node for _, node in told} == {"1", "1/2", "3"}


def test_a_launcher_ends_if_a_proxy_cannot_be_started(tree: Cluster, client: Client) -> None:
    waiting = 'case "$1" in --version) echo HYDRA; exit;; esac; "$4" -x 3 true; sleep 1000'
    launcher = tree.write_program("mpirun", waiting)
    lines = [("gproc_mpirun", launcher), ("gproc_nice", "-20"), ("gproc_file", "/none/such")]
    said = client.run(*lines, hostname="3", executable_path="/bin/true", backend="MPI", staging="true")
    assert said == ["ACTIVE", "FAILED"]
