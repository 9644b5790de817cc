"""`gproc m 2>&1 | less`: the pipe was full as soon as a page was read in peace, and the whole tree stood still."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from gproc.logstream import LogStream, open_log
from tests.patience import PATIENCE_S
from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster


@pytest.fixture
def pipe() -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 16384)
    return reader, writer


def everything(reader: int) -> str:
    with open(reader, "rb") as file:
        return file.read().decode()


def test_lines_that_nobody_reads_are_lost_and_counted(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stream = LogStream(writer)
    for number in range(1000):
        stream.write(f"line {number} {'x' * 100}\n")
    taken = os.read(reader, 1 << 16).decode()
    stream.write("and on\n")
    os.close(writer)
    whole = taken.splitlines()
    assert whole == [f"line {number} {'x' * 100}" for number in range(len(whole))]
    assert everything(reader) == f"{1000 - len(whole)} lines of the log are lost here: nobody read them\nand on\n"


def test_a_slow_reader_gets_all_and_a_stopped_one_costs_little_time(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stream = LogStream(writer)
    text = "".join(f"line {number}\n" for number in range(2000))
    reading = threading.Thread(target=lambda: taken.append(everything(reader)))
    taken: list[str] = []
    reading.start()
    for line in text.splitlines(keepends=True):
        stream.write(line)
    os.close(writer)
    reading.join(PATIENCE_S)
    assert taken == [text]

    reader, writer = os.pipe2(os.O_CLOEXEC)
    stream = LogStream(writer)
    for _ in range(20_000):
        stream.write("nobody reads this line\n")
    assert stream._lost > 10_000
    os.close(reader)
    os.close(writer)


def test_a_long_line_does_not_block_either(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stream = LogStream(writer)
    stream.write("y" * 20_000 + "\n")
    taken = os.read(reader, 1 << 16)
    assert taken == b"y" * len(taken)
    assert 4096 <= len(taken) <= 16384
    os.close(reader)
    os.close(writer)


def test_a_master_whose_log_nobody_reads_serves_on(tmp_path: Path, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    cluster = Cluster(tmp_path / "c")
    words = ["m", "-debug=3", "-cmdport=0", f"--socket={cluster.socket}", f"--store={tmp_path}/store"]
    master = subprocess.Popen([*gproc_as(None), *words], env=cluster.env, cwd=cluster.work, stderr=writer)
    os.close(writer)
    begun = b""
    while (found := re.search(rb"master on \S+, port (\d+), commands at", begun)) is None:
        begun += os.read(reader, 1)
    cluster.port = int(found.group(1))
    slave = cluster.launch_slave()
    slave.says("this is node 1")
    for _ in range(20):
        assert cluster.exec("-localbin", "1", "/bin/echo", "well").stdout == b"well\n"
    taken: list[str] = []
    reading = threading.Thread(target=lambda: taken.append(everything(reader)))
    reading.start()
    assert cluster.exec("-localbin", "1", "/bin/echo", "well").stdout == b"well\n"
    master.send_signal(signal.SIGINT)
    assert master.wait(PATIENCE_S) == 0
    assert slave.wait() == 0
    reading.join(PATIENCE_S)
    assert re.search(r"^\d+ lines of the log are lost here: nobody read them$", taken[0], re.MULTILINE)


def test_a_fifo_as_a_log_is_not_waited_for_and_keeps_the_first_lines(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    descriptor = open_log(str(fifo))
    stream = LogStream(descriptor)
    stream.write("first\n")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    assert os.read(reader, 100) == b"first\n"
    os.close(reader)
    for number in range(2000):
        stream.write(f"line {number} {'x' * 100}\n")
    os.close(descriptor)


def test_a_log_is_appended_to_and_one_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    for line in ("one\n", "two\n"):
        descriptor = open_log(str(tmp_path / "log"))
        LogStream(descriptor).write(line)
        os.close(descriptor)
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    with pytest.raises(FileNotFoundError):
        open_log(str(tmp_path / "no" / "log"))
