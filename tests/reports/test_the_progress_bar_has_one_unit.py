"""The bar mixed GiB with MB/s, and added up all nodes: 2.9 GiB of a file of 150 MiB."""

from __future__ import annotations

import contextlib
import os
import pty
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.cli.progress import UNITS, amounts
from tests.system.cluster import Cluster
from tests.transfer.payload import MIB, Payload
from tests.transfer.wiretap import Wiretap


def test_two_nodes_are_shown_one_payload_first_of_all(tmp_path: Path) -> None:
    """The payload of 6 MiB is 6 MiB for two nodes too, and the rate is in MiB as well."""
    cluster = Cluster(tmp_path / "c")
    with Wiretap(rate=3 * MIB) as tap:
        cluster.start_master()
        tap.target = cluster.port
        for number in (1, 2):
            since = cluster.master.mark()
            cluster.joined(cluster.launch_slave(f"--id={number}", parent=tap.port), cluster.master, since)
        payload = Payload(tmp_path / "root", 6 * MIB)
        ours, theirs = pty.openpty()
        job = cluster.begin("e", *payload.words("1-2"), stderr=theirs, env={"COLUMNS": "120", "TERM": "xterm"})
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal any more, pty(7)
            while piece := os.read(ours, 4096):
                seen += piece
        os.close(ours)
        assert cluster.finish(job)[0] == 0
        tap.rate = 0
        cluster.stop_behind_a_relay()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    (size,) = {float(found) for found in re.findall(r"sending \d+\.\d/(\d+\.\d) MiB", shown)}
    assert 6 <= size < 8.5  # and the shell's own files
    assert re.search(r"\d+\.\d MiB/s", shown)
    assert not re.search(r"\d [KMG]B|GiB", shown)
    assert "/2 nodes" in shown


@given(st.integers(1, 1 << 50), st.floats(0, 1), st.floats(0, 1e12) | st.none())
def test_amount_and_rate_have_the_unit_of_the_payload(payload_bytes: int, part: float, rate: float | None) -> None:
    amount, speed = amounts(payload_bytes * part, payload_bytes, rate)
    of, unit = amount.rpartition("/")[2].split(" ")
    assert unit in UNITS
    assert 1 <= float(of) <= 1024
    assert (speed == "") if rate is None else speed.endswith(f" {unit}/s")


@pytest.mark.parametrize(
    ("received", "payload", "rate", "shown"),
    [
        (40.1 * MIB, 150 * MIB, 12.34 * MIB, ("40.1/150.0 MiB", "12.3 MiB/s")),
        (0, 900, None, ("0/900 B", "")),
        (1 << 30, 3 << 30, 1 << 20, ("1.0/3.0 GiB", "0.001 GiB/s")),
        (1 << 30, 3 << 30, 150 << 20, ("1.0/3.0 GiB", "0.15 GiB/s")),
    ],
)
def test_the_payload_comes_first(received: float, payload: int, rate: float | None, shown: tuple[str, str]) -> None:
    assert amounts(received, payload, rate) == shown
