"""Streams: output comes back unchanged, and input reaches every program."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster

LONG_LINE_BYTES = 10_000_000


def test_stdout_and_stderr_stay_apart(flat: Cluster) -> None:
    done = flat.exec(".", "/bin/sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n" * 3, b"err\n" * 3)


@pytest.mark.parametrize(
    "output",
    [b"", b"\n", b"no end", b"\r\n", b"50%\r100%\r", bytes(range(256)), b"\0" * 70_000, b"a\n\nb\n\n\nc"],
    ids=lambda output: repr(output[:12]),
)
def test_the_bytes_of_one_node_are_not_changed(flat: Cluster, output: bytes) -> None:
    (flat.work / "output").write_bytes(output)
    assert flat.exec("-f", "output", "2", "/bin/cat", "output").stdout == output
    assert sorted(flat.exec("-f", "output", ".", "/bin/cat", "output").stdout) == sorted(output * 3)


def test_output_of_one_node_comes_before_its_line_ends(flat: Cluster) -> None:
    job = flat.begin("e", "1", "/bin/sh", "-c", "printf 'name? '; read name; echo $name", stdin=subprocess.PIPE)
    assert job.stdout is not None
    assert job.stdin is not None
    assert job.stdout.read(6) == b"name? "
    job.stdin.write(b"Ada\n")
    assert flat.finish(job)[:2] == (0, "Ada\n")


def test_a_line_of_ten_million_bytes_from_several_nodes_at_once_stays_whole(flat: Cluster) -> None:
    digit = "head -c 10000000 /dev/zero | tr '\\0' $GPROC_NODE"
    done = flat.exec(".", "/bin/sh", "-c", f"{digit}; echo; {digit}")
    assert done.returncode == 0, done.stderr
    runs = Counter(line[:1] for line in done.stdout.split(b"\n")[:-1])
    assert runs == {b"1": 1, b"2": 1, b"3": 1}
    lines = done.stdout.split(b"\n")
    assert sorted(len(line) for line in lines[:3]) == [LONG_LINE_BYTES] * 3
    assert all(len(set(line)) == 1 for line in lines[:3])
    assert len(lines[3]) == 3 * LONG_LINE_BYTES, "the unfinished lines come last, one after the other"


def test_many_lines_of_many_nodes_are_never_mixed(deep: Cluster) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do echo $GPROC_NODE line $i of this very node; i=$((i+1)); done"
    done = deep.exec("././.", "/bin/sh", "-c", script)
    assert done.returncode == 0, done.stderr
    by_node: dict[bytes, list[int]] = {}
    for line in done.stdout.splitlines():
        node, word, number, *rest = line.split()
        assert (word, rest) == (b"line", [b"of", b"this", b"very", b"node"])
        by_node.setdefault(node, []).append(int(number))
    assert set(by_node) == {b"1", b"1/1", b"1/1/5", b"1/2", b"2", b"2/1"}
    assert all(numbers == list(range(2000)) for numbers in by_node.values())


def test_a_label_is_before_each_line(deep: Cluster) -> None:
    done = deep.exec("-l", "1/.", "/bin/sh", "-c", "echo a; echo b; echo c >&2; printf d")
    assert sorted(done.stdout.splitlines()) == sorted(
        b"%s: %s" % (node, line) for node in (b"1", b"1/1", b"1/2") for line in (b"a", b"b", b"d")
    )
    assert sorted(done.stderr.splitlines()) == [b"1/1: c", b"1/2: c", b"1: c"]


def test_files_of_a_whole_tree_come_back_each_nodes_to_its_own_place(deep: Cluster, tmp_path: Path) -> None:
    script = "[ $GPROC_NODE = 2/1 ] || { mkdir o; head -c 3000000 /dev/zero > o/zeros; echo $GPROC_NODE > o/name; }"
    done = deep.exec("--collect", "o/*", "-b", "././.", "/bin/sh", "-c", script, cwd=tmp_path)
    told = b"gproc: =2/1: nothing to collect: the job wrote no file that matches o/*\n"
    assert (done.returncode, done.stderr) == (0, told)
    assert {path.read_text().strip() for path in tmp_path.glob("*/o/name")} == {"1", "2", "1/1", "1/2", "1/1/5"}
    assert {path.stat().st_size for path in tmp_path.glob("*/o/zeros")} == {3_000_000}
    assert (tmp_path / "1.1.5/o/name").read_text() == "1/1/5\n"


def test_files_are_not_collected_for_a_command_that_is_gone(flat: Cluster) -> None:
    done = flat.exec("--collect", "o", "-d", "1", "/bin/true")
    assert done.returncode == 2
    assert done.stderr.startswith(b"gproc: --collect brings files to this command, and with --detach the job may")


def test_stdin_goes_to_every_node(deep: Cluster) -> None:
    data = os.urandom(3_000_000)
    done = deep.exec("././.", "/usr/bin/md5sum", input=data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [hashlib.md5(data).hexdigest().encode(), b"-"] * 6


def test_stdin_that_arrives_before_the_program_starts_keeps_its_order(deep: Cluster) -> None:
    data = b"".join(b"%d\n" % number for number in range(100_000))
    for _ in range(10):
        assert deep.exec("=1/1/5", "/bin/cat", input=data).stdout == data


def test_stdin_comes_back_from_every_node_whole(flat: Cluster) -> None:
    data = os.urandom(1_000_000).replace(b"\n", b"x") + b"\n"
    assert flat.exec(".", "/bin/cat", input=data).stdout == data * 3


def test_a_large_stdin_takes_no_new_memory_for_each_block(flat: Cluster, tmp_path: Path) -> None:
    faults = []
    for size in (1 << 20, 64 << 20):
        (tmp_path / "input").write_bytes(bytes(size))
        with open(tmp_path / "input", "rb") as given:
            process = flat.begin("e", "1", "wc", "-c", stdin=given)
        assert process.stdout is not None
        assert process.stdout.read().split() == [str(size).encode()]
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        faults.append(used.ru_minflt)
    pages = (64 << 20) // os.sysconf("SC_PAGESIZE")
    assert faults[1] - faults[0] < pages / 4, "page faults of the client"


def test_a_node_that_does_not_read_its_stdin_holds_back_no_other_after_its_end(flat: Cluster) -> None:
    data = b"x" * 3_000_000
    done = flat.exec(".", "/bin/sh", "-c", "[ $GPROC_NODE = 2 ] || wc -c", input=data)
    assert (done.returncode, done.stdout) == (0, b"3000000\n" * 2), done.stderr


def test_a_node_that_closes_its_stdin_holds_back_no_other(flat: Cluster) -> None:
    script = "if [ $GPROC_NODE = 2 ]; then exec <&-; echo closed; else wc -c; fi"
    done = flat.exec(".", "/bin/sh", "-c", script, input=b"x" * 3_000_000)
    assert sorted(done.stdout.split()) == [b"3000000", b"3000000", b"closed"]


def test_no_program_needs_to_read_stdin(flat: Cluster) -> None:
    done = flat.exec(".", "/bin/true", input=b"x" * 5_000_000)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("switch", [[], ["-n"]])
def test_an_empty_stdin_is_empty_on_every_node(flat: Cluster, switch: list[str]) -> None:
    done = flat.exec(*switch, ".", "/usr/bin/wc", "-c", stdin=subprocess.DEVNULL)
    assert done.stdout == b"0\n" * 3


def test_with_n_the_client_does_not_read_stdin(flat: Cluster) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"not for the program")
    try:
        assert flat.exec("-n", ".", "/usr/bin/wc", "-c", stdin=reader).stdout == b"0\n" * 3
        assert os.read(reader, 100) == b"not for the program"
    finally:
        os.close(reader)
        os.close(writer)


def test_stdin_may_be_closed(flat: Cluster) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" <&-', "sh", *flat.begin("e", "1", "/bin/true").args],  # type: ignore[misc]
        env=flat.env, cwd=flat.work, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_reader_that_closes_stdout_ends_the_job_without_a_message(flat: Cluster) -> None:
    job = flat.begin("e", ".", "/usr/bin/yes")
    assert job.stdout is not None
    assert job.stdout.read(4) == b"y\ny\n"
    job.stdout.close()
    job.stdout = None
    assert flat.finish(job) == (128 + 13, "", "")
    flat.nothing_runs()
    assert flat.states() == {str(number): "up" for number in (1, 2, 3)}


def test_a_slow_reader_holds_back_only_its_own_job(flat: Cluster) -> None:
    slow = flat.begin("e", ".", "/usr/bin/yes")
    assert slow.stdout is not None
    assert slow.stdout.read(2) == b"y\n"
    assert flat.exec(".", "/bin/echo", "quick").stdout == b"quick\n" * 3
    for daemon in (flat.master, *flat.slaves):
        peak = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{daemon.pid}/status").read_text())
        assert peak is not None
        assert int(peak.group(1)) < 120_000, "KiB"
    slow.kill()
    flat.finish(slow)
    flat.nothing_runs()


def test_a_full_disk_is_reported_and_makes_125(flat: Cluster) -> None:
    with open("/dev/full", "wb") as full:
        done = flat.exec(".", "/bin/echo", "lost", stdout=full)
        long = flat.exec("1", "/bin/sh", "-c", "echo lost; exec sleep 1000", stdout=full)
        tasks = flat.command("map", "1", "/bin/echo", ":::", "a", "b", stdout=full)
    for each in (done, long, tasks):
        assert each.returncode == 125, "it was ended because of that, and no other signal ended it"
        assert each.stderr == b"gproc: cannot write stdout: No space left on device\n"


def test_a_job_that_is_killed_brings_nothing(flat: Cluster, tmp_path: Path) -> None:
    script = "echo x > o; echo begun; exec sleep 99"
    job = flat.begin("e", "--name=kept", "--collect", "o", "1", "/bin/sh", "-c", script, cwd=tmp_path, bufsize=0)
    assert job.stdout is not None
    assert job.stdout.read(6) == b"begun\n"
    assert flat.command("kill", "-s", "KILL", "kept").returncode == 0
    _, stderr = job.communicate(timeout=PATIENCE_S)
    assert (job.returncode, stderr) == (128 + signal.SIGKILL, b"gproc: 1: killed by SIGKILL\n")
    assert os.listdir(tmp_path) == []
