"""`gproc e --retry-failed` and `@failed`: the nodes on which the last job failed, by its record."""

from __future__ import annotations

import asyncio

import pytest

import gproc
from tests.loop import run
from tests.system.cluster import NOBODY, Cluster

FAILS_ON_TWO = ("/bin/sh", "-c", "echo $GPROC_NODE; [ $GPROC_NODE != 2 ] || exit 7")


def test_a_user_without_a_job_is_told_so(deep: Cluster) -> None:
    for words in (("@failed", "true"), ("--retry-failed",)):
        done = deep.exec(*words)
        assert (done.returncode, done.stderr) == (2, b"gproc: you have no job yet\n")


def test_the_last_job_runs_again_where_it_failed(flat: Cluster) -> None:
    assert flat.exec("1-3", *FAILS_ON_TWO).returncode == 7
    number = flat.command("ps", "-a").stdout.splitlines()[-1].split()[0].decode()
    again = flat.exec("--retry-failed")
    assert (again.returncode, again.stdout) == (7, b"2\n")
    said = f"gproc: job {number} again on 2: /bin/sh -c 'echo $GPROC_NODE; [ $GPROC_NODE != 2 ] || exit 7'"
    assert again.stderr.decode().splitlines() == [said, "gproc: 2: exit status 7"]
    other = flat.exec("--retry-failed", "-l", "/bin/echo", "-l")
    assert (other.returncode, other.stdout, other.stderr) == (0, b"2: -l\n", b"")
    none = flat.exec("--retry-failed")
    assert none.returncode == 125
    assert none.stderr.startswith(b"gproc: no node of job ") and none.stderr.endswith(b" has failed\n")


def test_every_end_but_success_is_a_failure_and_so_is_a_node_that_was_not_there(flat: Cluster) -> None:
    script = "case $GPROC_NODE in 1) kill -9 $$;; 2) exit 1;; esac"
    assert flat.exec("1-3,8-9", "/bin/sh", "-c", script).returncode == 137
    done = flat.exec("@failed,3", "/bin/sh", "-c", "echo $GPROC_NODE")
    assert sorted(done.stdout.split()) == [b"1", b"2", b"3"]
    assert (done.returncode, done.stderr) == (125, b"gproc: 8-9: not connected\n")
    assert flat.exec("--fanout=1", "--max-fail=1", "1-3", "/bin/false").returncode == 125
    assert flat.exec("-x", "2", "@failed", "/bin/echo", "ran").stdout == b"ran\nran\n"


def test_the_word_means_the_same_in_every_verb(flat: Cluster) -> None:
    def fail() -> None:
        assert flat.exec("--spool", "--name=partly", "1-3", *FAILS_ON_TWO).returncode == 7

    fail()
    assert flat.command("logs", "partly", "@failed").stdout == b"2\n"
    shown = flat.command("i", "@failed").stdout.splitlines()
    assert [line.split()[0] for line in shown[1:2]] == [b"2"]
    (flat.work / "sent").write_text("content")
    target = flat.place / "target"
    target.mkdir()
    assert flat.command("cp", "sent", f"@failed:{target}/copy").returncode == 0
    assert (target / "copy").read_text() == "content"
    fail()
    assert flat.command("get", f"@failed:{target}/copy", "back").returncode == 0
    assert [path.name for path in (flat.work / "back").iterdir()] == ["2"]
    copied = flat.exec("--retry-failed")
    assert copied.returncode == 125 and b"has failed" in copied.stderr
    assert flat.command("get", f"1-2:{target}/none", "back").returncode == 1
    refused = flat.exec("--retry-failed")
    assert refused.returncode == 2 and b"for a copy use @failed as NODES" in refused.stderr


def test_the_template_of_a_map_is_not_run_as_a_job(flat: Cluster) -> None:
    assert flat.command("map", "1-3", "/bin/sh", "-c", "echo {}; false", input=b"a\n").returncode == 1
    number = flat.command("ps", "-a").stdout.splitlines()[-1].split()[0].decode()
    refused = flat.exec("--retry-failed")
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert refused.stderr.decode().startswith(f"gproc: job {number} was a map, and its tasks are no node's own: give ")
    assert len(refused.stderr.splitlines()) == 1
    assert len(flat.exec("--retry-failed", "/bin/echo", "{}").stdout.splitlines()) == 1, "with a command it runs that"
    assert flat.command("map", "--detach", "1", "/bin/false", input=b"a\n").returncode == 0
    assert flat.command("wait", "last").returncode == 1
    assert b"was a map" in flat.exec("--retry-failed").stderr


def test_a_program_whose_name_is_cp_is_run_again(flat: Cluster) -> None:
    assert flat.exec("-localbin", "1", "cp", "alone").returncode == 1
    again = flat.exec("-localbin", "--retry-failed")
    assert b"again on 1: cp alone" in again.stderr and b"missing destination" in again.stderr


def test_a_job_that_runs_is_not_run_again_and_its_failures_so_far_have_a_name(flat: Cluster) -> None:
    go = flat.place / "go-on"
    script = f"[ $GPROC_NODE = 1 ] && exit 3; echo begun; while [ ! -e {go} ]; do sleep 0.05; done"
    job = flat.begin("e", "--spool", "1-2", "/bin/sh", "-c", script)
    assert job.stdout is not None
    assert job.stdout.readline() == b"begun\n"
    following = flat.begin("logs", "-f", "last", "1")
    assert flat.finish(following)[0] == 0
    refused = flat.exec("--retry-failed")
    assert refused.returncode == 125 and b"has not ended: gproc wait" in refused.stderr
    shown = flat.command("i", "@failed").stdout.splitlines()
    assert shown[1].split()[0] == b"1"
    go.touch()
    assert flat.finish(job)[0] == 3


def test_a_command_that_its_record_cut_has_to_be_said_again(flat: Cluster) -> None:
    assert flat.exec("1", "/bin/sh", "-c", "exit 3", "x" * 5000).returncode == 3
    refused = flat.exec("--retry-failed")
    assert refused.returncode == 2 and b"longer than its record: say it behind --retry-failed" in refused.stderr
    assert flat.exec("--retry-failed", "/bin/echo", "said").stdout == b"said\n"


def test_a_line_of_shell_runs_again_as_one(flat: Cluster) -> None:
    (flat.work / "here").write_text("")
    assert flat.exec("--shell", "1", "test", "-e", "nowhere", "&&", "echo", "yes").returncode == 1
    again = flat.exec("--retry-failed")
    assert again.returncode == 1
    assert again.stderr.decode().splitlines()[0].endswith("again on 1: /bin/sh -c 'test -e nowhere && echo yes'")


def test_the_last_job_is_the_users_own(flat: Cluster, root_only: None) -> None:
    assert flat.exec("1", "/bin/false").returncode == 1
    done = flat.exec("@failed", "true", uid=NOBODY, cwd="/")
    assert (done.returncode, done.stderr) == (2, b"gproc: you have no job yet\n")


def test_a_library_that_waits_and_one_that_does_not_know_the_word(
    flat: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(flat.place / "cache"))
    with gproc.connect(str(flat.socket)) as cluster:
        assert cluster.run("1-3", FAILS_ON_TWO).returncode == 7
        assert cluster.run("@failed", ["/bin/true"]).nodes == ("2",)
        with pytest.raises(gproc.GprocError, match="has failed"):
            cluster.run("@failed", ["/bin/true"])

    async def later() -> tuple[str, ...]:
        async with gproc.connect_async(str(flat.socket)) as cluster:
            await cluster.run("1-3", FAILS_ON_TWO)
            results = await asyncio.gather(*(cluster.run("1,@failed", ["/bin/true"]) for _ in range(2)))
            return results[0].nodes

    assert run(later()) == ("1", "2")
