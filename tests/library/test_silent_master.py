"""A master that takes connections and does not answer: the kernel takes them for one that is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gproc
from gproc.cli.main import main
from gproc.client import connection, watching
from gproc.errors import MasterSilent
from gproc.trust import meeting
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster

VERBS = {
    "i": [], "e": ["-localbin", "./.", "true"], "ps": [], "logs": ["last"], "kill": ["last"], "wait": ["last"],
    "attach": ["last"], "rm": ["1"], "cp": ["file", "./.:/tmp/"], "get": ["./.:/etc/hostname", "."],
    "drain": ["1"], "stacks": ["last"], "map": ["-localbin", "./.", "true", ":::", "1"],
}  # fmt: skip

LISTENS = "import socket; s = socket.socket(socket.AF_UNIX); s.bind('g'); s.listen(); print(flush=True); input()"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HELLO_S", 0.05)


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The path of a socket whose owner, this process, takes nothing from it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("silent")
        listener.listen()
        yield str(tmp_path / "silent")


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_that_hung_for_ever_names_the_socket_and_the_process(
    silent: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, f"--socket={silent}", *VERBS[verb]]) == 125
    told = capsys.readouterr().err
    begin = f"gproc: the master at {silent}, process {os.getpid()}, does not answer: it has said nothing for 0.05 s; "
    assert told.startswith(begin)
    assert told.endswith(f"if it hangs, gproc stop --socket={silent}\n")


def test_a_program_that_hung_for_ever_gets_an_error(silent: str) -> None:
    with gproc.connect(silent) as cluster, pytest.raises(MasterSilent, match="does not answer"):
        cluster.info()

    async def ask() -> None:
        async with gproc.connect_async(silent) as cluster:
            await cluster.info()

    with pytest.raises(MasterSilent, match="does not answer"):
        asyncio.run(ask())


@contextlib.contextmanager
def a_full_queue(at: str) -> Iterator[subprocess.Popen[bytes]]:
    """A stopped process that listens at a socket; no client can connect there any more."""
    words = [sys.executable, "-c", LISTENS.replace("'g'", repr(at)).replace("listen()", "listen(0)")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        listener.stdout.readline()
        with contextlib.ExitStack() as waiting, contextlib.suppress(BlockingIOError):
            while True:
                waiting.enter_context(meeting.dial(at, waits=False)[0])
        listener.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, listener.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            yield listener
        finally:
            listener.kill()


@pytest.mark.parametrize("words", [("e", ""), ("logs", ""), ("cp", "file", "")])
def test_the_tab_key_waited_for_a_master_whose_queue_is_full(
    tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A connection that waits would wait without end here."""

    def too_long(*_: object) -> None:
        raise AssertionError("it waits for the master to take a connection")

    monkeypatch.setenv("GPROC_HOME", str(tmp_path / "home"))
    at = str(tmp_path / "g")
    with a_full_queue(at):
        monkeypatch.setattr(meeting, "_CONNECT_TIMEOUT", struct.pack("@ll", 0, 0))
        before = signal.signal(signal.SIGALRM, too_long)
        signal.alarm(int(PATIENCE_S))
        try:
            assert main(["__complete", f"--socket={at}", *words]) == 0
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
    assert capsys.readouterr().out.startswith(("\t", "file\t"))


def test_a_master_whose_queue_was_full_was_no_master_and_gproc_stop_did_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(meeting, "_CONNECT_TIMEOUT", struct.pack("@ll", 0, 1000))
    monkeypatch.setenv("GPROC_HOME", str(tmp_path / "home"))
    at = str(tmp_path / "g")
    with a_full_queue(at) as listener:
        told = f"the master at {at}, process {listener.pid}, does not answer: it has taken no connection for 10 s, "
        told += f"because it is stopped: kill -CONT {listener.pid} lets it go on\n"
        for verb, words in {"i": [], "drain": ["1"], "start": ["-w", "n1"]}.items():
            assert main([verb, f"--socket={at}", *words]) == 125
            assert capsys.readouterr().err.endswith(told), verb

        async def ask() -> None:
            await gproc.connect_async(at)

        with pytest.raises(MasterSilent):
            asyncio.run(ask())
        assert main(["stop", f"--socket={at}"]) == 0
        assert listener.wait(PATIENCE_S) == -signal.SIGTERM


def test_a_master_was_looked_at_for_ever_when_it_was_stopped(nodes: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "HELLO_S", 1.0)
    monkeypatch.setattr(watching, "FRESH_S", 0.0)
    log: list[str] = []

    async def look() -> None:
        looking = watching.Watching(str(nodes.socket), log.append)
        while (await looking.look()).tree is None:
            pass
        log.clear()
        os.kill(nodes.master.pid, signal.SIGSTOP)
        try:
            while (seen := await looking.look()).tree is not None:
                pass
            assert f"because it is stopped: kill -CONT {nodes.master.pid} lets it go on" in seen.trouble
            assert log == [seen.trouble]
        finally:
            os.kill(nodes.master.pid, signal.SIGCONT)
        while (await looking.look()).tree is None:
            pass
        assert log[1:] == ["the master answers again"]
        looking.close()

    asyncio.run(asyncio.wait_for(look(), PATIENCE_S))


def test_a_master_that_was_stopped_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [sys.executable, "-c", LISTENS]
    with subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        listener.stdout.readline()
        listener.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, listener.pid, os.WSTOPPED)
        with gproc.connect(str(tmp_path / "g")) as cluster, pytest.raises(MasterSilent) as told:
            cluster.info()
        assert str(told.value).endswith(f", because it is stopped: kill -CONT {listener.pid} lets it go on")
        listener.kill()


def test_what_a_command_asked_that_gave_up_is_not_done_when_the_master_goes_on(nodes: Cluster) -> None:
    """And a job that runs does not end because its master stands still."""
    with gproc.connect(str(nodes.socket)) as cluster:
        running = cluster.popen("1", ["cat"], stdin=gproc.PIPE)
        os.kill(nodes.master.pid, signal.SIGSTOP)
        try:
            with gproc.connect(str(nodes.socket)) as late, pytest.raises(MasterSilent):
                late.popen("2", ["sleep", "1000"], detach=True)
        finally:
            os.kill(nodes.master.pid, signal.SIGCONT)
        cluster.info()
        assert [job.number for job in cluster.jobs()] == [running.number]
        assert running.communicate(b"still there", timeout=PATIENCE_S).stdout["1"] == b"still there"


def test_a_client_that_waits_for_its_turn_is_told_that_the_master_is_at_work(nodes: Cluster) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(nodes.socket))
        assert re.match(rb"GPROC..\x03\Z", client.recv(100), re.DOTALL), "before it has said anything"
