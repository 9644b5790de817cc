"""Jobs that outlive their client: detached, left, attached to again, and what is kept of their output."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

import gproc
from tests.loop import run
from tests.patience import PATIENCE_S
from tests.system.cluster import NOBODY, Cluster
from tests.system.detached import LINES, MANY_LINES, detached, logs


def test_a_detached_job_goes_on_and_every_line_and_status_can_be_had_later(flat: Cluster) -> None:
    number = detached(flat, "--name=lines", "1-3", "/bin/sh", "-c", f"{MANY_LINES}; exit $GPROC_RANK")
    done = flat.command("wait", "lines")
    assert (done.returncode, done.stderr.decode()) == (2, "gproc: 2: exit status 1\ngproc: 3: exit status 2\n")
    expected = {f"{node}: {node}-{line}" for node in (1, 2, 3) for line in range(LINES)}
    said = logs(flat, "-l", number).splitlines()
    assert len(said) == len(expected) and set(said) == expected
    of_one = logs(flat, number, "2").splitlines()
    assert of_one == [f"2-{line}" for line in range(LINES)]
    timed = logs(flat, "-t", "last", "3").splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} 3-\d+", line) for line in timed)


def test_an_input_that_a_detached_job_does_not_get_is_not_dropped_without_a_word(flat: Cluster, tmp_path: Path) -> None:
    """`gproc e -d 1 sort < data` sorted nothing, with status 0."""
    told = b"gproc: the standard input is not read, "
    data = tmp_path / "data"
    data.write_bytes(b"b\na\n")
    with data.open("rb") as file:
        done = flat.exec("-d", "1", "/usr/bin/wc", "-c", stdin=file)
        assert (done.returncode, done.stderr[: len(told)]) == (0, told)
        assert flat.command("wait", done.stdout.decode().strip()).returncode == 0
        assert logs(flat, done.stdout.decode().strip()) == "0\n"
        assert file.read() == b"b\na\n"  # it is a loop's
        assert flat.exec("-d", "1", "/bin/true", stdin=file).stderr == b""  # at its end
        file.seek(0)
        assert flat.exec("-d", "-n", "1", "/bin/true", stdin=file).stderr == b""
    assert flat.exec("-d", "1", "/bin/true", input=b"b\n").stderr.startswith(told)
    assert flat.exec("-d", "1", "/bin/true", input=b"").stderr == b""
    assert flat.exec("-d", "1", "/bin/true", stdin=subprocess.DEVNULL).stderr == b""


def test_logs_can_follow_a_job_until_it_ends(flat: Cluster) -> None:
    go = flat.place / "go"
    number = detached(flat, "1", "/bin/sh", "-c", f"echo begun; while [ ! -e {go} ]; do sleep 0.1; done; echo over")
    following = flat.begin("logs", "-f", number)
    assert following.stdout is not None
    assert following.stdout.readline() == b"begun\n"
    assert logs(flat, number) == "begun\n"
    go.touch()
    assert flat.finish(following) == (0, "over\n", "")


def test_a_job_that_survives_its_client_loses_no_line_when_the_client_is_killed(flat: Cluster) -> None:
    go = flat.place / "on"
    body = f"{MANY_LINES}; while [ ! -e {go} ]; do sleep 0.1; done; {MANY_LINES}; exit 3"
    client = flat.begin("e", "--on-disconnect=detach", "--name=tough", "1-2", "/bin/sh", "-c", body)
    assert client.stdout is not None
    client.stdout.readline()
    client.kill()
    client.wait()
    client.stdout.close()
    flat.master.says(r"job \d+: its client is gone, and it goes on")
    go.touch()
    assert flat.command("wait", "tough").returncode == 3
    said = logs(flat, "tough").splitlines()
    assert sorted(said) == sorted(2 * [f"{node}-{line}" for node in (1, 2) for line in range(LINES)])


@pytest.mark.parametrize("switch", ["--detach", "--on-disconnect=detach", "--fanout=1"])
def test_a_job_for_which_the_master_keeps_the_program_leaves_nothing_in_use_when_it_has_ended(
    flat: Cluster, switch: str
) -> None:
    """Each left a handle and a lock in the master, for good: no `gproc store --prune` removed its program."""
    assert flat.exec(switch, "1-2", "/bin/sh", "-c", f": {switch}").returncode == 0
    assert flat.command("wait", "last").returncode == 0

    def held() -> list[str]:
        handles = Path(f"/proc/{flat.master.pid}/fd")
        return [name for each in handles.iterdir() if "/roots/" in (name := os.path.realpath(each))]

    deadline = time.monotonic() + PATIENCE_S  # what was sent is held for ten seconds more
    while held():
        assert time.monotonic() < deadline, held()
        time.sleep(0.2)


def test_a_job_that_survives_its_client_goes_on_when_nobody_reads_the_client(flat: Cluster) -> None:
    """`gproc e --on-disconnect=detach ... | head -1` ended it by SIGTERM."""
    go = flat.place / "read"
    body = f"echo first; while [ ! -e {go} ]; do echo more; sleep 0.05; done; echo last; exit 3"
    client = flat.begin("e", "--on-disconnect=detach", "--name=unread", "1-2", "/bin/sh", "-c", body)
    assert client.stdout is not None
    assert client.stdout.readline() == b"first\n"
    client.stdout.close()
    assert client.wait(PATIENCE_S) == 141
    go.touch()
    assert flat.command("wait", "unread").returncode == 3
    said = logs(flat, "unread").splitlines()
    assert (said.count("first"), said.count("last")) == (2, 2)


def test_a_job_that_survives_its_client_goes_on_when_its_output_cannot_be_written(flat: Cluster) -> None:
    with open("/dev/full", "wb") as full:
        done = flat.exec("--on-disconnect=detach", "1", "/bin/sh", "-c", "echo a; sleep 0.5; echo b", stdout=full)
    assert done.returncode == 125
    said, left = done.stderr.decode().splitlines()
    assert said == "gproc: cannot write stdout: No space left on device"
    assert re.fullmatch(r"gproc: left job (\d+), which goes on: gproc attach \1", left)
    assert flat.command("wait", "last").returncode == 0
    assert logs(flat, "last") == "a\nb\n"


def test_a_job_whose_output_was_not_kept_says_how_it_would_be(flat: Cluster) -> None:
    assert flat.exec("1", "/bin/echo", "here").returncode == 0
    done = flat.command("logs", "last")
    assert done.returncode == 125
    assert re.match(rb"gproc: job \d+ kept no output: .*--spool", done.stderr)
    assert flat.exec("--spool", "1", "/bin/echo", "kept").stdout == b"kept\n"
    assert logs(flat, "last") == "kept\n"
    assert logs(flat, "-f", "last") == "kept\n"


def test_a_variable_that_is_empty_does_not_kill_a_job_on_all_nodes(flat: Cluster) -> None:
    number = detached(flat, "1-3", "/bin/sleep", "1000")
    for verb in ("kill", "logs", "stacks"):
        done = flat.command(verb, number, "")
        assert (done.returncode, b"node specification" in done.stderr) == (2, True), verb
    with gproc.connect(str(flat.socket)) as cluster, pytest.raises(gproc.SpecError):
        cluster.kill(number, nodes="")
    assert flat.command("kill", number).returncode == 0


def test_a_job_gets_a_signal_on_some_of_its_nodes_or_on_all(flat: Cluster) -> None:
    number = detached(flat, "1-3", "/bin/sleep", "1000")
    assert flat.command("kill", "-s", "INT", number, "2-3").returncode == 0
    waiting = flat.begin("wait", number)
    assert flat.command("kill", "--signal=9", number).returncode == 0
    assert flat.finish(waiting) == (137, "", "gproc: 1: killed by SIGKILL\ngproc: 2-3: killed by SIGINT\n")
    for verb in ("kill", "stacks"):  # it has ended, and NODES was not looked at
        elsewhere = flat.command(verb, number, "7")
        assert (elsewhere.returncode, b"has no part on 7" in elsewhere.stderr) == (2, True), elsewhere
    again = flat.command("kill", number)
    assert (again.returncode, again.stderr) == (125, f"gproc: job {number} has ended\n".encode())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("logs", "999999"), "you have no job 999999"),
        (("attach", "nobody"), "you have no job nobody"),
        (("rm", "999999"), "you have no job 999999"),
        (("wait", "../../etc"), "cannot be the name of a job"),
        (("kill", "-s", "SEGV", "1"), "is not a signal that a job can be sent"),
        (("e", "-d", "--name=last", "1", "true"), "'last' is not the name of a job"),
        (("e", "--on-disconnect=stay", "1", "true"), "is not 'end' or 'detach'"),
    ],
)
def test_what_is_no_job_or_no_signal_is_told_in_one_line(flat: Cluster, words: tuple[str, ...], told: str) -> None:
    done = flat.command(*words)
    assert done.returncode in (2, 125)
    assert told in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


def test_records_and_output_are_removed_and_those_of_a_running_job_are_not(flat: Cluster) -> None:
    ended = detached(flat, "1", "/bin/echo", "gone soon")
    assert flat.command("wait", ended).returncode == 0
    running = detached(flat, "--name=busy", "1", "/bin/sleep", "1000")
    done = flat.command("rm", ended, running, "nobody")
    assert done.returncode == 125
    assert done.stderr.decode().splitlines() == [
        f"gproc: job {running} has not ended: gproc kill {running} ends it", "gproc: you have no job nobody",
    ]  # fmt: skip
    assert flat.command("logs", ended).returncode == 2
    second = flat.exec("--name=busy", "1", "true")
    assert f"your job {running} has the name busy and runs" in second.stderr.decode()
    assert flat.command("kill", "busy").returncode == 0
    assert flat.command("wait", "busy").returncode == 143


@pytest.mark.usefixtures("root_only")
def test_nobody_touches_a_job_of_another_user(cluster: Cluster) -> None:
    cluster.slave(1)
    number = detached(cluster, "--name=mine", "1", "/bin/sleep", "1000")
    for words in (("logs", number), ("attach", "mine"), ("wait", number), ("kill", number)):
        done = cluster.command(*words, uid=NOBODY)
        assert (done.returncode, done.stderr.decode()) == (2, f"gproc: you have no job {words[1]}\n")
    assert f"you have no job {number}" in cluster.command("rm", number, uid=NOBODY).stderr.decode()
    assert cluster.command("kill", number).returncode == 0
    assert cluster.command("wait", number).returncode == 143
    theirs = cluster.exec("-d", "1", "/bin/sleep", "1000", uid=NOBODY)
    assert cluster.command("kill", theirs.stdout.decode().strip()).returncode == 0


def test_a_client_that_reads_nothing_holds_up_no_detached_job(flat: Cluster) -> None:
    size = 8 << 20
    number = detached(flat, "1", "/bin/sh", "-c", f"head -c {size} /dev/zero")
    idle = [flat.begin("logs", "-f", number), flat.begin("attach", number)]
    assert flat.command("wait", number).returncode == 0
    assert len(flat.command("logs", number).stdout) == size
    for process in idle:
        process.kill()
        process.communicate()
    last = flat.begin("logs", number)
    assert last.stdout is not None
    last.stdout.close()  # as `gproc logs ... | head` does
    assert last.wait() == 128 + signal.SIGPIPE
    assert last.stderr is not None
    last.stderr.close()


def test_a_full_spool_drops_the_oldest_and_says_how_much(cluster: Cluster, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('root = true\n[[allow]]\nusers = ["*"]\n[limits]\nuser_spool_mib = 1\n')
    other = Cluster(tmp_path / "other")
    other.env["GPROC_POLICY"] = str(policy)
    other.start_master()
    other.slave(1)
    size = 5 << 20
    number = detached(other, "1", "/bin/sh", "-c", f"echo first; head -c {size} /dev/zero; echo; echo the last")
    assert other.command("wait", number).returncode == 0
    done = other.command("logs", number)
    assert done.returncode == 1  # it was 0: a script took what was left for all
    [told] = done.stderr.decode().splitlines()
    found = re.fullmatch(r"gproc: 1: (\d+) bytes of stdout are missing here: there was no room to keep them", told)
    assert found is not None, told
    assert int(found.group(1)) + len(done.stdout) == size + len("first\n\nthe last\n")
    assert done.stdout.endswith(b"\0\nthe last\n")
    assert len(done.stdout) <= 1 << 20
    second = detached(other, "1", "/bin/sh", "-c", f"head -c {size} /dev/zero")
    assert other.command("wait", second).returncode == 0
    nothing = other.command("logs", number)
    assert (nothing.returncode, "all of its output" in nothing.stderr.decode()) == (1, True)
    other.stop()


@pytest.mark.stress
@pytest.mark.master("--orphan-timeout=4")
def test_what_was_written_before_the_master_crashed_can_be_read_after_it(cluster: Cluster) -> None:
    cluster.slave(1)
    number = detached(cluster, "1", "/bin/sh", "-c", "seq 5000; sleep 1000")
    following = cluster.begin("logs", "-f", number)
    assert following.stdout is not None
    for line in range(1, 5001):
        assert int(following.stdout.readline()) == line
    cluster.master.kill(signal.SIGKILL)
    cluster.master.wait()
    cluster.finish(following)
    for slave in list(cluster.slaves):
        cluster.end(slave, signal.SIGTERM)
    cluster.forget(cluster.master)
    cluster.socket.unlink(missing_ok=True)
    cluster.start_master()
    assert logs(cluster, number).split() == [str(line) for line in range(1, 5001)]
    done = cluster.command("wait", number)
    assert done.returncode == 125
    lost = done.stderr.decode().splitlines()[-1]
    assert lost == "gproc: 1: lost: it has not come back since the master crashed"


def test_a_client_that_dies_before_its_program_is_delivered_takes_its_job_along(flat: Cluster) -> None:
    large = flat.work / "large"
    with large.open("wb") as file:
        file.write(os.urandom(48 << 20))
    since = flat.master.mark()
    client = flat.begin("e", "-d", "-f", str(large), "1", "/bin/sleep", "1000")
    flat.master.says(r"job \d+: uid \d+ on 1: /bin/sleep 1000$", since=since)
    client.kill()
    printed, _ = client.communicate()
    if printed:  # it was delivered already
        assert flat.command("kill", "last").returncode == 0
    flat.command("wait", "last")
    assert flat.job_processes() == []


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.stress)])
def test_many_detached_jobs_at_once(flat: Cluster, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(flat.place / "cache"))

    async def begun() -> list[int]:
        async with gproc.connect_async(str(flat.socket)) as cluster:
            bundle = gproc.pack("/bin/echo")
            jobs = await asyncio.gather(
                *(cluster.popen("1-3", ["/bin/echo", str(n)], bundle=bundle, detach=True) for n in range(count))
            )
            assert all(job.returncode is None for job in jobs)
            return [number for job in jobs if (number := job.number) is not None]

    numbers = run(begun())
    assert len(set(numbers)) == count
    with gproc.connect(str(flat.socket)) as cluster:
        for value, number in enumerate(numbers):
            assert cluster.wait(number) == 0
            said = [event.data for event in cluster.logs(number) if isinstance(event, gproc.Output)]
            assert said == 3 * [b"%d\n" % value]
        assert cluster.remove(*numbers) == ()


def test_a_library_begins_leaves_and_finds_jobs(flat: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(flat.place / "cache"))
    with gproc.connect(str(flat.socket)) as cluster:
        job = cluster.popen("1-2", ["/bin/sh", "-c", "read x; echo $x; exit 4"], stdin=gproc.PIPE, name="asks")
        job.leave()
        with pytest.raises(gproc.GprocError, match="has left job"):
            job.wait()
    with gproc.connect(str(flat.socket)) as cluster:
        [known] = [each for each in cluster.jobs() if each.name == "asks"]
        assert known.number == job.number
        again = cluster.attach("asks")
        assert again.stdin is not None
        assert again.args[0] == "/bin/sh"
        result = again.communicate(b"input\n")
        assert (set(result.stdout.values()), result.returncode) == ({b"input\n"}, 4)
        events = list(cluster.logs("asks", nodes="2", times=True))
        [output] = [event for event in events if isinstance(event, gproc.Output)]
        assert (output.node, output.data) == ("2", b"input\n")
        assert output.time_s is not None
        with pytest.raises(gproc.JobRejected, match="has ended"):
            cluster.kill("asks")
        assert cluster.wait("asks") == 4
