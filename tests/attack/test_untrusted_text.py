"""What a node, a caller or a file's name says reaches a terminal or a log as text, never as orders to the terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gproc.node.voice import Voice
from gproc.request.outcome import Lost, NotStarted, Refused
from gproc.request.wording import describe
from gproc.shown import shown, shown_text
from gproc.trust.identity import Identity
from gproc.wire.messages import Arrived, Granted, Left, NodeInfo, Route, Run
from tests.attack.peer import join_as, node_of, signed_end
from tests.system.cluster import Cluster

ORDERS = "\x1b[2J\x1b]0;owned\x07\r\nforged: all is well\x9b31m"


@given(st.text())
def test_text_that_is_shown_is_printable(text: str) -> None:
    assert shown_text(text).isprintable()
    assert shown(text.encode(errors="surrogatepass")).isprintable()
    if text.isprintable():
        assert shown_text(text) == text


@pytest.mark.parametrize("outcome", [Lost(ORDERS), Refused(ORDERS), NotStarted(ORDERS)], ids=lambda one: one.kind)
def test_a_nodes_reason_is_one_printable_line(outcome: Lost | Refused | NotStarted) -> None:
    assert describe(outcome).isprintable()
    assert "forged: all is well" in describe(outcome)


def test_what_a_hostile_node_says_moves_no_cursor_and_forges_no_line(cluster: Cluster, this_node: Identity) -> None:
    control, bulk = join_as(cluster.port, this_node, 1)
    with control, bulk:
        control.hear(Granted)
        control.say(Arrived(Route((3,)), NodeInfo(ORDERS, ORDERS, b"n" * 16, ORDERS, 0.0)))
        cluster.master.says(r"not taken in: 1/3 \(.*forged")
        below = replace(
            node_of(this_node, Voice()), address=ORDERS, plain_because=ORDERS, python_because=ORDERS, version=ORDERS
        )
        control.say(Arrived(Route((2,)), below))
        cluster.master.says(r"arrived: 1/2 ")
        table = cluster.command("i")
        job = cluster.begin("e", "-localbin", "=1", "/bin/true")
        run = control.hear(Run)
        control.say(signed_end(control.voice, run, 0, NotStarted(ORDERS)), Left(Route((2,)), ORDERS))
        status, stdout, stderr = cluster.finish(job)
        cluster.master.says(r"cannot reach 1/2 .*: .*forged")
    assert (status, stdout) == (125, "")
    assert stderr.removesuffix("\n").isprintable()
    cells = [cell for line in table.stdout.decode().splitlines() for cell in line.split("\t")]
    assert all(cell.isprintable() for cell in cells)
    assert all(line.isprintable() for line in cluster.master.log.splitlines())
    assert not any(line.startswith("forged") for line in cluster.master.log.splitlines())


@pytest.mark.parametrize("verb", ["e", "bundle"])
def test_a_scripts_first_line_and_name_do_not_reach_the_terminal_raw(cluster: Cluster, verb: str) -> None:
    script = cluster.work / f"a{ORDERS[:8]}b"
    script.write_bytes(b"#!/no/such\x1b[2Jinterpreter\n")
    script.chmod(0o755)
    words = ["e", f"--socket={cluster.socket}", "1"] if verb == "e" else ["bundle"]
    done = subprocess.run(
        [sys.executable, "-m", "gproc", *words, str(script)], capture_output=True, env=cluster.env, cwd=cluster.work,
        check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.decode().removesuffix("\n").isprintable(), done.stderr
    assert os.fsencode("\\x1b") in done.stderr
