"""`--tty`: a real terminal on the node, shown on the caller's real terminal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any, cast

import pytest

from gproc.node.program import Program
from gproc.request.outcome import Outcome
from gproc.request.spec import Caller, Request, TerminalSize
from gproc.trust.orders import JobInput, JobOrders, JobSigner, JobWords
from gproc.trust.outcomes import SignedEnd
from gproc.trust.signing import Signer
from gproc.trust.ticket import Ticket
from gproc.wire.branch import Branch
from gproc.wire.endings import RankEnded, Release
from gproc.wire.messages import Run, Signed
from tests.patience import PATIENCE_S
from tests.system.cluster import NOBODY, Cluster
from tests.system.screen import Screen


@pytest.fixture
def screens() -> Iterator[list[Screen]]:
    opened: list[Screen] = []
    yield opened
    for screen in opened:
        screen.close()


def test_a_shell_on_a_node_is_a_shell(site: Any, screens: list[Screen]) -> None:
    screen = Screen(site.cluster, "--tty", "=1", "/bin/bash", "--norc", "--noprofile", "-i", uid=site.uid or None)
    screens.append(screen)
    screen.shows(r"\$ ")
    screen.type("tty; stty size; echo $GPROC_NODE\r")
    screen.shows(r"/dev/pts/\d+\r\n33 101\r\n1\r\n")
    screen.type("ps -o tty= -p $$; [ -t 0 -a -t 1 -a -t 2 ] && echo all three\r")
    screen.shows(r"pts/\d+\s+\r?\n.*all three\r\n")
    screen.type("sh -c 'echo run$(echo s); exec sleep 1000'\r")  # its echo does not look like its output
    screen.shows("runs\r\n")
    screen.type("\x03")
    screen.shows(r"\^C")
    screen.type("echo status $?\r")
    screen.shows("status 130\r\n")
    screen.type("sh -c 'echo run$(echo s); exec sleep 1000'\r")  # its echo does not look like its output
    screen.shows("runs\r\n")
    screen.type("\x1a")
    screen.shows("Stopped")
    screen.type("exec sh -c 'exit 7'\r")
    assert screen.ends() == 7
    site.cluster.nothing_runs()


def test_the_size_follows_the_callers_terminal(pair: Cluster, screens: list[Screen]) -> None:
    # Without a trap of its own, a shell survives ^C that arrives between two of its children.
    script = "trap 'stty size' WINCH; trap 'exit 130' INT; stty size; while :; do sleep 0.05; done"
    screen = Screen(pair, "-t", "1", "/bin/bash", "-c", script)
    screens.append(screen)
    screen.shows("33 101\r\n")
    screen.size(50, 132)
    screen.process.send_signal(signal.SIGWINCH)  # it has no controlling terminal to send it
    screen.shows("50 132\r\n")
    screen.type("\x03")
    assert screen.ends() == 130


def test_every_key_and_byte_goes_through(pair: Cluster, screens: list[Screen]) -> None:
    screen = Screen(pair, "-t", "1", "/bin/sh", "-c", "stty raw -echo; echo ready; exec od -An -v -tx1 -N8 -w8")
    screens.append(screen)
    screen.shows("ready")
    screen.type("\x00\x03\x04\x11\x13\x1a\x1cz")
    screen.shows("00 03 04 11 13 1a 1c 7a")
    assert screen.ends() == 0


def test_a_typed_end_of_file_ends_the_input(pair: Cluster, screens: list[Screen]) -> None:
    screen = Screen(pair, "-t", "1", "/bin/sh", "-c", "cat; echo over")
    screens.append(screen)
    screen.type("one\r")
    screen.shows("one\r\none\r\n")
    screen.type("\x04")
    screen.shows("over\r\n")
    assert screen.ends() == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_command_ends_the_program_and_restores_the_terminal(
    pair: Cluster, screens: list[Screen], signum: int
) -> None:
    screen = Screen(pair, "-t", "1", "/bin/sh", "-c", "echo ready; exec sleep 1000")
    screens.append(screen)
    screen.shows("ready")
    screen.process.send_signal(signum)
    assert screen.ends() == 128 + signum
    pair.nothing_runs()


def test_if_the_callers_terminal_hangs_up_the_nodes_does_too(pair: Cluster, screens: list[Screen]) -> None:
    screen = Screen(pair, "-t", "1", "/bin/sh", "-c", "echo ready; exec sleep 1000")
    screens.append(screen)
    screen.shows("ready")
    screen.hang_up()
    assert screen.process.wait(PATIENCE_S) != 0  # the terminal is gone, so the status does not matter
    pair.nothing_runs()


def test_much_output_comes_whole_before_the_end(pair: Cluster, screens: list[Screen]) -> None:
    screen = Screen(pair, "-t", "1", "/bin/sh", "-c", "seq 30000; echo the end")
    screens.append(screen)
    screen.shows("29999\r\n30000\r\nthe end\r\n")
    assert screen.ends() == 0


def test_a_process_that_holds_the_terminal_ends_with_the_program(pair: Cluster, screens: list[Screen]) -> None:
    screen = Screen(pair, "-t", "1", "/bin/sh", "-c", "setsid sleep 1000 & sleep 1000 & exit 3")
    screens.append(screen)
    screen.shows("exit status 3|3")
    assert screen.ends() == 3
    pair.nothing_runs()


def test_the_terminal_is_the_callers(pair: Cluster, screens: list[Screen], root_only: None) -> None:
    screen = Screen(
        pair, "-t", "1", "/bin/sh", "-c", "echo for $(id -u): $(stat -c %u $(tty)); echo x >$(tty)",
        uid=NOBODY, groups=(NOBODY,),
    )  # fmt: skip
    screens.append(screen)
    screen.shows("for 65534: 65534\r\nx\r\n")
    assert screen.ends() == 0


@pytest.mark.master("--orphan-timeout=5")
def test_a_node_that_is_lost_gives_the_terminal_back(cluster: Cluster, screens: list[Screen]) -> None:
    slave = cluster.slave(1)
    screen = Screen(cluster, "-t", "1", "/bin/sh", "-c", "echo ready; exec sleep 1000")
    screens.append(screen)
    screen.shows("ready")
    slave.kill(signal.SIGKILL)
    slave.wait()
    cluster.forget(slave)
    assert screen.ends() == 125


def test_more_than_one_node_is_refused(pair: Cluster, screens: list[Screen]) -> None:
    screen = Screen(pair, "--tty", ".", "/bin/bash")
    screens.append(screen)
    screen.shows("--tty is for one node")
    assert screen.ends() == 2


def test_without_a_terminal_at_home_there_is_none_on_the_node(pair: Cluster) -> None:
    done = pair.exec("--tty", "1", "/bin/bash")
    assert done.returncode == 2
    assert b"standard input is no terminal" in done.stderr


@pytest.mark.parametrize("switch", ["--no-stdin", "--label"])
def test_a_terminal_excludes_other_forms_of_output(pair: Cluster, screens: list[Screen], switch: str) -> None:
    screen = Screen(pair, "--tty", switch, "1", "/bin/bash")
    screens.append(screen)
    screen.shows("does not go with")
    assert screen.ends() == 2


class Fetching:
    """A node's services whose bundle never arrives, and its relayed job."""

    path = (1,)

    def __init__(self) -> None:
        self.told: list[tuple[int, Outcome]] = []
        self.credited = 0

    async def root(self, ticket: Ticket, tell: Any) -> None:
        await asyncio.Event().wait()

    def sign(self, end: SignedEnd) -> Signed:
        self.told.append((end.rank, end.outcome))
        return Signed(b"", b"")

    def finished(self, below: Program, ended: RankEnded) -> None:
        assert ended.signed is not None

    def credit_from_downstream(self, below: Program, size: int) -> None:
        self.credited += size


@pytest.mark.parametrize(
    ("terminal_size", "typed", "status"),
    [(TerminalSize(24, 80), b"ls\x03", 130), (TerminalSize(24, 80), b"ls\r", None), (None, b"ls\x03", None)],
)
def test_ctrl_c_ends_a_job_whose_terminal_does_not_exist_yet(
    terminal_size: TerminalSize | None, typed: bytes, status: int | None
) -> None:
    async def admitted() -> None:
        """Everything may run."""

    def ended(_: Outcome) -> None:
        """Nobody writes it down."""

    async def typed_while_fetching() -> Fetching:
        services = Fetching()
        request = Request(nodes="1", argv=(b"x",), stdin=True, terminal=terminal_size)
        session = b"s" * 16
        ticket = Ticket(session=session, sequence=1, job=1, start_by_ms=0, caller=Caller(0, 0, ()), request=request)
        signer = Signer(bytes(32))
        key = signer.public_key
        check = JobWords(JobInput(key, session, 1), JobOrders(key, session, 1, b"n" * 16))
        program = Program(cast(Any, services), cast(Any, services), ticket, check, admitted, ended)
        program.start(Run(1, 1, Signed(b"", b""), Branch(0, {}), 1 << 16))
        await asyncio.sleep(0)
        program.stdin(1, JobSigner(signer, session, 1).block(typed))
        program.release(Release(1))
        await asyncio.sleep(0)
        return services

    services = asyncio.run(typed_while_fetching())
    assert [(rank, outcome.status) for rank, outcome in services.told] == [(0, status or 137)]
    assert services.credited == len(typed)
