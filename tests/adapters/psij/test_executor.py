"""PSI/J jobs on a real tree: each test is a program of a user that imports psij, in a process of its own.

psij installs a handler of signals when it is imported, so the tests' own process does not import it.  That takes most
of a second: one process imports it for all programs, and forks them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.adapters.invoke.client import await_the_end_of_jobs
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster

BEGIN = """
import os, sys
from datetime import timedelta
from pathlib import Path
from psij import (
    InvalidJobException, Job, JobAttributes, JobExecutor, JobSpec, JobState, ResourceSpecV1, SubmitException,
)

PATIENCE = timedelta(seconds=60)
SOCKET = sys.argv[1]
executor = JobExecutor.get_instance("gproc", url=SOCKET)

def run(executable, *arguments, **rest):
    job = Job(JobSpec(executable=executable, arguments=[*arguments], **rest))
    executor.submit(job)
    return job.wait(PATIENCE)
"""


FORKS = """
import json, os, psij, sys

for line in sys.stdin:
    source, log = json.loads(line)
    if not (program := os.fork()):
        break
    print(os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]), flush=True)
else:
    sys.exit()
for number, name in enumerate((os.devnull, log, log)):
    os.dup2(os.open(name, os.O_RDWR), number)
exec(source)
"""

Program = Callable[[str], None]


@pytest.fixture(scope="module")
def program(tree: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Runs a program of a user, which must end well."""
    log = tmp_path_factory.mktemp("psij") / "log"
    words = [sys.executable, "-c", FORKS, str(tree.socket)]
    with subprocess.Popen(
        words, env=tree.env, cwd=tree.work, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as forking:
        assert forking.stdin is not None and forking.stdout is not None
        said = forking.stdout

        def run(source: str) -> None:
            log.write_bytes(b"")
            print(json.dumps((BEGIN + source, str(log))), file=forking.stdin)
            assert said.readline() == "0\n", log.read_text()

        yield run
        forking.stdin.close()
        assert forking.wait(PATIENCE_S) == 0


def test_a_job_runs_with_its_files_environment_and_directory(tree: Cluster, program: Program) -> None:
    tree.write_program("job", 'cat; echo "$A" "$B" "$GPROC_NODE" "$@"; echo no >&2; pwd >&2')
    (tree.work / "in").write_text("given\n")
    program("""
status = run(
    "./job", "x y", environment={"A": "b", "B": 1}, directory="/usr", stdin_path="in", stdout_path="out",
    stderr_path="err", attributes=JobAttributes(custom_attributes={"gproc.nodes": "=1/2"}),
)
assert (status.state, status.exit_code) == (JobState.COMPLETED, 0), status
assert Path("out").read_text() == "given\\nb 1 1/2 x y\\n"
assert Path("err").read_text() == "no\\n/usr\\n"
status = run("env", inherit_environment=False, environment={"A": "b"}, stdout_path="out")
assert not {line.partition("=")[0] for line in Path("out").read_text().split()} & {"HOME", "XDG_CACHE_HOME"}
""")


def test_the_end_of_a_job_is_told_with_its_status_and_reason(program: Program) -> None:
    program("""
failed = run("sh", "-c", "exit 3")
assert (failed.state, failed.exit_code) == (JobState.FAILED, 3)
assert failed.message.endswith("exit status 3")
limit = JobAttributes(duration=timedelta(seconds=0.2))
timed_out = run("sleep", "1000", attributes=limit)
assert (timed_out.state, timed_out.exit_code) == (JobState.FAILED, 124)
missing = run("/none/such")
assert missing.state == JobState.FAILED and "/none/such" in missing.message
""")


def test_a_job_whose_output_does_not_fit_on_the_disk_has_failed(program: Program) -> None:
    """It was COMPLETED, and the file lacked the rest."""
    program("""
status = run("/bin/sh", "-c", "echo lost", stdout_path=Path("/dev/full"))
assert (status.state, status.exit_code) == (JobState.FAILED, 125), status
assert "the rest of stdout is dropped: No space left on device" in status.message
""")


def test_processes_are_spread_as_the_resources_say(tree: Cluster, program: Program) -> None:
    tree.write_program("count", 'echo "$GPROC_NODE"; wc -l < "$PSIJ_NODEFILE" >&2')
    program("""
status = run(
    "./count", launcher="multiple", resources=ResourceSpecV1(node_count=3, processes_per_node=2, memory=6 << 30),
    stdout_path="out", stderr_path="err",
)
assert status.state == JobState.COMPLETED, status
assert sorted(Path("out").read_text().split()) == ["1", "1", "1/2", "1/2", "3", "3"]
assert Path("err").read_text().split() == ["6"] * 6
try:
    run("date", launcher="multiple", resources=ResourceSpecV1(node_count=4))
    sys.exit("it was taken")
except SubmitException as error:
    assert "wants 4 nodes" in str(error), error
""")


def test_scripts_run_before_and_after_the_command(tree: Cluster, program: Program) -> None:
    (tree.work / "pre").write_text("export A=pre\n")
    (tree.work / "post").write_text('echo "post $status"\n')
    program("""
status = run("sh", "-c", "echo $A; exit 5", pre_launch="pre", post_launch="post", stdout_path="out")
assert (status.state, status.exit_code) == (JobState.FAILED, 5)
assert Path("out").read_text() == "pre\\npost 5\\n"
""")


def test_files_that_the_arguments_name_go_along(tree: Cluster, program: Program) -> None:
    (tree.work / "data.csv").write_text("1,2\n")
    program("""
status = run("cat", "data.csv", stdout_path="out")
assert (status.state, Path("out").read_text()) == (JobState.COMPLETED, "1,2\\n"), status
""")


def test_a_cancelled_job_ends_and_is_told_to_all_who_are_attached(tree: Cluster, program: Program) -> None:
    program("""
job, attached = Job(JobSpec("sleep", ["1000"])), Job()
executor.submit(job)
job.wait(PATIENCE, target_states=[JobState.ACTIVE])
assert job.native_id in executor.list()
other = JobExecutor.get_instance("gproc", url=SOCKET)
other.attach(attached, job.native_id)
job.cancel()
assert job.wait(PATIENCE).state == JobState.CANCELED
assert attached.wait(PATIENCE).state == JobState.CANCELED
assert job.native_id not in executor.list()
late = Job()
other.attach(late, job.native_id)
assert late.wait(PATIENCE).state == JobState.CANCELED
""")
    await_the_end_of_jobs(tree)


def test_a_callback_may_submit_the_next_job(program: Program) -> None:
    program("""
second = Job(JobSpec("true"))
def told(job, status):
    if status.state == JobState.COMPLETED:
        executor.submit(second)
first = Job(JobSpec("true"))
first.set_job_status_callback(told)
executor.submit(first)
assert second.wait(PATIENCE).state == JobState.COMPLETED
""")


def test_a_hundred_jobs_run_at_once(program: Program) -> None:
    program("""
jobs = [Job(JobSpec("sleep", ["0.1"])) for _ in range(100)]
for job in jobs:
    executor.submit(job)
assert {job.wait(PATIENCE).state for job in jobs} == {JobState.COMPLETED}
""")


def test_what_cannot_be_submitted_is_said(program: Program) -> None:
    program("""
def refused(kind, text, executor=executor, **rest):
    job = Job(JobSpec(**{"executable": "true", **rest}))
    try:
        executor.submit(job)
    except kind as error:
        assert text in str(error), error
        assert job.status.state == JobState.NEW
        return
    sys.exit(f"it was taken: {text}")

refused(InvalidJobException, "no executable", executable=None)
refused(InvalidJobException, "no launcher 'srun'", launcher="srun")
refused(InvalidJobException, "attribute gproc.node:", attributes=JobAttributes(custom_attributes={"gproc.node": "1"}))
for count in (-5, 10_001, 10**7):
    refused(InvalidJobException, f"wants {count} processes", resources=ResourceSpecV1(process_count=count))
refused(InvalidJobException, "node specification", attributes=JobAttributes(custom_attributes={"gproc.nodes": "1-"}))
refused(InvalidJobException, "not a list", attributes=JobAttributes(custom_attributes={"gproc.files": "x"}))
refused(SubmitException, "no node is connected", attributes=JobAttributes(custom_attributes={"gproc.nodes": "9"}))
refused(SubmitException, "/none/out: No such file", stdout_path="/none/out")
refused(SubmitException, "no master is listening", JobExecutor.get_instance("gproc", url="/none"))
try:
    executor.attach(Job(), "gproc-1-1")
    sys.exit("it was attached")
except SubmitException as error:
    assert "this process has no job" in str(error)
""")


def test_jobs_end_with_the_process_that_submitted_them(tree: Cluster) -> None:
    source = """
job = Job(JobSpec("sleep", ["1000"]))
executor.submit(job)
job.wait(PATIENCE, target_states=[JobState.ACTIVE])
print("up", flush=True)
job.wait()
"""
    words = [sys.executable, "-c", BEGIN + source, str(tree.socket)]
    with subprocess.Popen(words, env=tree.env, cwd=tree.work, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"up\n"
        user.send_signal(signal.SIGKILL)
    await_the_end_of_jobs(tree)


def test_the_descriptor_names_the_version_of_gproc() -> None:
    import gproc

    descriptor = Path(__file__).parents[3] / "psij-descriptors" / "gproc_descriptor.py"
    assert f'Version("{gproc.__version__}")' in descriptor.read_text()
