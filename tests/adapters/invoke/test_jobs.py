"""`ng_invoke_server.GPROC` on a real tree: jobs as Ninf-G clients ask for them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.adapters.invoke.client import Client, await_the_end_of_jobs, redirected
from tests.system.cluster import Cluster


def test_a_conversation_as_ninf_g_5_has_it(client: Client) -> None:
    assert client.ask("QUERY_FEATURES") == "SM"
    said = [client.reply() for _ in range(7)]
    assert said[0] == "protocol_version 2.0"
    assert said[-1] == "REPLY_END"
    job = client.begun(hostname="1/2", executable_path="/bin/sleep", argument=["0.1"])
    assert client.statuses(job) == ["ACTIVE", "DONE"]
    assert client.ask(f"JOB_STATUS {job}") == "S DONE"
    assert client.ask(f"JOB_DESTROY {job}") == "S"
    assert client.ask(f"JOB_STATUS {job}") == f"F no such job: {job}"
    assert client.ask("EXIT") == "S"
    assert client.process.wait(60) == 0
    assert client.end_of(notifies=True) == client.end_of(notifies=False) == b""


def test_the_executable_of_a_node_runs_in_its_directory_with_arguments_and_environment(
    tree: Cluster, client: Client, tmp_path: Path
) -> None:
    program = tree.write_program("exe", 'pwd; echo "$A" "$B" "$GPROC_NODE" "$@"; echo no >&2')
    files = redirected(tmp_path)
    given = {"argument": ["--a b ", "", "c"], "environment": ["A=1=2", "B"]}
    assert client.run(hostname="3", executable_path=program, **given, **files) == ["ACTIVE", "DONE"]
    assert (tmp_path / "out").read_text() == f"{tree.work}\n1=2  3 --a b   c\n"
    assert (tmp_path / "err").read_text() == "no\n"
    client.run(("work_directory", "/usr"), hostname="3", executable_path=program, **files)
    assert (tmp_path / "out").read_text().splitlines()[0] == "/usr"


def test_a_job_whose_output_finds_no_room_is_not_done(client: Client, tmp_path: Path) -> None:
    files = redirected(tmp_path) | {"stdout_file": "/dev/full"}
    assert client.run(hostname="3", executable_path="/bin/date", **files) == ["ACTIVE", "FAILED"]


def test_a_staged_executable_goes_along_with_its_files(tree: Cluster, client: Client, tmp_path: Path) -> None:
    program = tree.write_program("staged", f"cat {tmp_path}/data; rm -f $0 {tmp_path}/data")
    (tmp_path / "data").write_text("sent\n")
    lines = [("gproc_file", str(tmp_path / "data"))]
    said = client.run(*lines, hostname="1/2", executable_path=program, staging="true", **redirected(tmp_path))
    assert said == ["ACTIVE", "DONE"]
    assert (tmp_path / "out").read_text() == "sent\n"
    assert Path(program).exists(), "the job has a private copy"


def test_a_request_for_many_runs_as_many_processes(tree: Cluster, client: Client, tmp_path: Path) -> None:
    program = tree.write_program("many", 'echo "$GPROC_NODE"')
    spec = [("gproc_nodes", "./.")]
    given = {"hostname": "any", "executable_path": program, **redirected(tmp_path)}
    assert client.run(*spec, count=7, **given) == ["ACTIVE", "DONE"]
    assert sorted((tmp_path / "out").read_text().split()) == ["1", "1", "1", "1/2", "1/2", "3", "3"]
    assert client.run(*spec, count=4, host_count=1, **given) == ["ACTIVE", "DONE"]
    assert len(set((tmp_path / "out").read_text().split())) == 1
    client.run(count=3, **(given | {"hostname": "localhost"}))
    assert sorted((tmp_path / "out").read_text().split()) == ["1", "1/2", "3"]


def test_one_process_that_fails_makes_its_job_fail(tree: Cluster, client: Client, tmp_path: Path) -> None:
    program = tree.write_program("fails", '[ "$GPROC_NODE" != 3 ] || exit 4')
    said = client.run(
        ("gproc_nodes", "./."), ("gproc_reasons", "true"), hostname="any", executable_path=program, count=3
    )
    assert said[-1] == "FAILED 3: exit status 4"


def test_limits_hold(tree: Cluster, client: Client, tmp_path: Path) -> None:
    program = tree.write_program("limits", "ulimit -t; ulimit -n; nice")
    given = {"hostname": "3", "executable_path": program, "max_cpu_time": 2, "gproc_nice": 3}
    assert client.run(**given, **redirected(tmp_path)) == ["ACTIVE", "DONE"]
    cpu, files, nice = (tmp_path / "out").read_text().split()
    assert cpu == "120"
    assert files == subprocess.run(["sh", "-c", "ulimit -n"], capture_output=True, text=True, check=True).stdout.strip()
    assert int(nice) == os.nice(0) + 3


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"hostname": "kn9"}, "no node of the tree is called kn9"),
        ({"hostname": "7"}, "no node of the tree is called 7"),
        ({"port": "9"}, "no slave on 3 has the port 9"),
        ({"gproc_nodes": "3-"}, "node specification"),
        ({"count": None, "port": None}, "missing: port, count"),
        ({"backend": "MPI", "gproc_mpirun": "no-such-mpirun"}, "no-such-mpirun is not on this machine"),
        ({"backend": "BLACS", "gproc_mpirun": "echo"}, "not of MPICH's family"),
        ({"redirect_enable": "true", "stdout_file": "/none/o", "stderr_file": "/none/e"}, "/none/o: No such file"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_reason(
    client: Client, attributes: dict[str, str | None], reason: str
) -> None:
    given = {"hostname": "3", "executable_path": "/bin/true", **attributes}
    reply = client.create(**given)
    assert reply.startswith("F ")
    assert reason in reply
    assert client.run(hostname="3", executable_path="/bin/true") == ["ACTIVE", "DONE"]


@pytest.mark.parametrize("staging", ["true", "false"])
def test_an_executable_that_is_not_there_fails_with_the_reason(client: Client, staging: str) -> None:
    lines = [("gproc_reasons", "true")]
    said = client.run(*lines, hostname="3", executable_path="/none/such", staging=staging)
    assert said[-1].startswith("FAILED ")
    assert "/none" in said[-1]


def test_a_job_that_is_destroyed_ends_everywhere_and_is_done(tree: Cluster, client: Client) -> None:
    program = tree.write_program("stays", 'trap "" TERM; echo up; sleep 1000 & wait')
    job = client.begun(("gproc_nodes", "./."), hostname="any", executable_path=program, count=6)
    assert client.notify() == f"STATUS_NOTIFY {job} ACTIVE"
    assert client.ask(f"JOB_STATUS {job}") == "S ACTIVE"
    assert client.ask(f"JOB_DESTROY {job}") == "S"
    assert client.notify() == f"STATUS_NOTIFY {job} DONE"
    await_the_end_of_jobs(tree)
    assert client.ask(f"JOB_DESTROY {job}") == f"F no such job: {job}"


def test_a_job_that_is_destroyed_at_once_ends_too(tree: Cluster, client: Client) -> None:
    for _ in range(20):
        job = client.begun(hostname="3", executable_path="/bin/sleep", argument="1000")
        assert client.ask(f"JOB_DESTROY {job}") == "S"
        assert client.statuses(job)[-1] == "DONE"
    await_the_end_of_jobs(tree)
