"""If the disk behind stderr was full, every failure had status 1, and a job that went well failed with `-debug=3`.

A script that logs to a full disk must still be able to tell a lost node (125) from a program's own status.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.cluster import Cluster

MIB = 1 << 20


def alone(*words: str, **streams: int) -> subprocess.CompletedProcess[bytes]:
    """A command that reaches no master."""
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([sys.executable, "-m", "gproc", *words], stdin=subprocess.DEVNULL, **both)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(params=["a full disk", "a reader that is gone"])
def unwritable(request: pytest.FixtureRequest) -> int:
    """A descriptor that takes nothing."""
    if request.param == "a full disk":
        handle = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, handle = os.pipe()
        os.close(reading)
    request.addfinalizer(lambda: os.close(handle))
    return handle


def test_a_message_that_cannot_be_written_changes_no_status(unwritable: int) -> None:
    assert alone("ee", stderr=unwritable).returncode == 2
    assert alone("--socket=/no/such", "i", stderr=unwritable).returncode == 125
    assert alone("bundle", "/no/such", stderr=unwritable).returncode == 127


def test_the_status_of_a_job_is_as_ever(tree: Cluster, unwritable: int) -> None:
    assert tree.exec("9", "true", stderr=unwritable).returncode == 125
    assert tree.exec("1", "sh", "-c", "exit 7", stderr=unwritable).returncode == 7
    assert tree.command("cp", "/no/such", f"1:{tree.work}/x", stderr=unwritable).returncode == 1


def test_what_is_said_beside_a_job_ends_none(tree: Cluster, unwritable: int) -> None:
    assert tree.exec("-debug=3", "1", "true", stderr=unwritable).returncode == 0
    assert tree.exec("--json-progress", "1", "true", stderr=unwritable).returncode == 0


def test_a_table_that_cannot_be_written_says_what_could_not() -> None:
    with open("/dev/full", "wb") as full:
        done = alone("config", stdout=full.fileno())
    assert (done.returncode, done.stderr) == (125, b"gproc: cannot write stdout: No space left on device\n")


def test_output_for_a_reader_that_is_slow_and_non_blocking_arrives_whole() -> None:
    """A terminal may be non-blocking: another program that has it too may have made it so."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    child = subprocess.Popen([sys.executable, "-m", "gproc", "help", "e"], stdout=writing, stderr=subprocess.PIPE)
    shell = subprocess.Popen(
        [sys.executable, "-c", FLOOD], stdout=writing, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    os.close(writing)
    with open(reading, "rb") as pipe:
        got = pipe.read()
    assert (child.wait(), shell.wait()) == (0, 0)
    assert b"Usage:" in got
    assert got.count(b"x") >= MIB


FLOOD = f"""
import sys
from gproc.descriptors import open_standard_descriptors
open_standard_descriptors()
sys.stdout.write("x" * {MIB})
sys.stdout.flush()
"""


def files_of_at_most_64_kib() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))


@pytest.mark.parametrize("switch", [(), ("-b",), ("--sort",)], ids=["as it comes", "-b", "--sort"])
def test_lines_that_cannot_be_kept_end_the_job_with_the_reason(tree: Cluster, switch: tuple[str, ...]) -> None:
    """A line without an end waits in a temporary file until it is whole."""
    done = tree.exec(*switch, "1-2", "head", "-c", str(4 * MIB), "/dev/zero", preexec_fn=files_of_at_most_64_kib)
    assert done.returncode == 125
    assert b"gproc: cannot keep the nodes' output in a temporary file: File too large\n" in done.stderr


def test_blocks_of_tasks_that_cannot_be_kept_end_the_list_with_the_reason(tree: Cluster) -> None:
    done = tree.command(
        "map", "-k", "1-2", "sh", "-c", f"head -c {40 * MIB} /dev/zero", ":::", "1", "2",
        preexec_fn=files_of_at_most_64_kib,
    )  # fmt: skip
    assert done.returncode == 125
    assert b"gproc: cannot keep the nodes' output in a temporary file: File too large\n" in done.stderr
