"""A user whose jobs and requests fill the memory that the policy gives them is told so."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gproc.wire import frames, messages
from gproc.wire.task_messages import LIST_BYTES_MAX
from tests.attack.test_policy import cluster_under
from tests.patience import PATIENCE_S
from tests.system.as_user import IMPORT_ALL, gproc_as
from tests.system.cluster import NOBODY, Cluster

POLICY = """
[[allow]]
users = ["*"]
[limits]
user_memory_mib = {mib}
"""

OWNER: dict[str, Any] = {"uid": NOBODY}


@pytest.fixture
def mib() -> int:
    return 8


@pytest.fixture
def narrow(tmp_path: Path, mib: int, root_only: None) -> Iterator[Cluster]:
    yield from cluster_under(tmp_path, POLICY.format(mib=mib))


def test_a_list_that_does_not_fit_is_refused_in_words_and_not_by_a_closed_connection(narrow: Cluster) -> None:
    entries = (b"x" * 1000 + b"\n") * 10_000
    assert len(entries) < LIST_BYTES_MAX
    done = narrow.command("map", "-d", "1", "true", input=entries, **OWNER)
    assert (done.returncode, done.stdout) == (125, b""), done.stderr
    told = rb"is ended: your jobs and requests take [67] MiB of the master's memory, and a user may have 8 MiB"
    assert re.search(told, done.stderr), done.stderr


@pytest.mark.parametrize("mib", [1])
def test_a_request_that_does_not_fit_is_answered_before_its_connection_ends(narrow: Cluster) -> None:
    done = narrow.exec("-localbin", "1", "/bin/true", *("x" * 100_000 for _ in range(12)), **OWNER)
    assert (done.returncode, done.stdout) == (125, b""), done.stderr
    assert b"the master has ended this connection: your jobs and requests take 0 MiB" in done.stderr, done.stderr


@pytest.mark.parametrize("mib", [2])
def test_a_job_that_is_too_much_in_any_case_is_not_told_to_wait(narrow: Cluster) -> None:
    """It was told that the user's jobs took 0 MiB of 2, and to wait until some of them had ended."""
    done = narrow.command("map", "-localbin", "1", "true", input=b"1\n", **OWNER)
    assert (done.returncode, done.stdout) == (125, b""), done.stderr
    assert b"a user may have 2 MiB: this needs 5 MiB more, which no user may have" in done.stderr, done.stderr


@pytest.mark.parametrize("mib", [6])
def test_tasks_of_a_user_without_room_for_windows_say_all_that_they_write(narrow: Cluster) -> None:
    """While what nodes keep of them followed the windows and what they said at once did not, a node waited for ever."""
    done = narrow.command("map", "-localbin", "1", "head", "-c", "{}", "/dev/zero", input=b"100000\n" * 8, **OWNER)
    assert (done.returncode, len(done.stdout)) == (0, 800_000), done.stderr


def test_a_list_whose_master_dies_while_it_is_sent_is_no_success(tmp_path: Path) -> None:
    """It printed the job's number, and ended with 0."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        words = [*gproc_as(None), "map", f"--socket={path}", "-d", "1", "true"]
        begun = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert begun.stdin is not None
        begun.stdin.write(b"1\n")
        begun.stdin.close()
        begun.stdin = None
        client, _ = listener.accept()
        with client:
            client.sendall(frames.preface(frames.CHANNEL_CLIENT))
            client.sendall(messages.frame(messages.Accepted(1, 7, ((1,),), "", 1 << 20)))
            assert client.recv(1)
        stdout, stderr = begun.communicate(timeout=PATIENCE_S)
    assert (begun.returncode, stdout) == (125, b""), stderr
    assert b"has ended" in stderr


JOBS_AT_ONCE = """
import sys, gproc

with gproc.connect(sys.argv[1]) as cluster:
    jobs = [cluster.popen("1", sys.argv[3:], local_bin=True, stdin=gproc.PIPE) for _ in range(int(sys.argv[2]))]
    for job in jobs:
        done = job.communicate(b"i" * 200_000)
        print(done.returncode, len(done.stdout["1"]), len(done.stderr["1"]))
"""

AS_NOBODY = f"""{IMPORT_ALL}
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
"""


@pytest.mark.parametrize("mib", [2])
def test_many_jobs_of_a_user_share_the_memory_and_all_of_their_output_comes(narrow: Cluster) -> None:
    """Each could have 4 MiB of output at the master that nobody read, and that was not counted."""
    words = ["/bin/sh", "-c", "head -c 300000 /dev/zero; cat; head -c 100000 /dev/zero >&2"]
    script = [sys.executable, "-c", AS_NOBODY + JOBS_AT_ONCE, str(narrow.socket), "25", *words]
    done = subprocess.run(script, capture_output=True, timeout=PATIENCE_S)
    assert done.stdout.decode().splitlines() == ["0 500000 100000"] * 25, done.stderr
