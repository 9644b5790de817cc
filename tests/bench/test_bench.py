"""Every measurement runs and names what it measured.  No test asserts a time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import pytest

from bench import ssh
from bench.figures import QUICK, Figure, Report, Samples, Settings, Yardstick, markdown_row
from bench.lab import Lab, impossible
from bench.links import Layout
from bench.processes import MachineTime

CHECKOUT = Path(__file__).parents[2]

Bench = Callable[..., Report]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Returns a function that runs `python -m bench --quick` with arguments, and returns its report."""

    def run(*arguments: str) -> Report:
        file = tmp_path / "report.json"
        environ = os.environ | {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT)}
        done = subprocess.run(
            [sys.executable, "-m", "bench", "--quick", "--json", str(file), *arguments],
            env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.decode()
        report = msgspec.json.decode(file.read_bytes(), type=Report)
        assert not report.missing, report.missing
        assert list(tmp_path.iterdir()) == [file]
        return report

    return run


LONG: Final = ("library", "scale", "slave", "transfer")


@pytest.mark.parametrize(
    "name",
    ["dispatch", "output", *(pytest.param(name, marks=pytest.mark.stress) for name in LONG)],
)
@pytest.mark.slow
def test_a_measurement_on_this_machine_yields_positive_figures(bench: Bench, name: str) -> None:
    report = bench(name)
    assert report.figures
    assert all(value > 0 for figure in report.figures for value in figure.measured.values)


@pytest.fixture
def lab_possible() -> None:
    reason = impossible()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.stress
@pytest.mark.usefixtures("lab_possible")
def test_links_of_limited_rate_are_measured_in_payloads(bench: Bench) -> None:
    flat, flat_bytes, flat_again, racks, racks_bytes, racks_again = bench("links").figures
    for time in (flat, racks):
        assert time.unit == "x"
        # Nothing is faster than its link.
        assert time.measured.median > 1
    for moved in (flat_bytes, racks_bytes):
        assert moved.measured.median > 1
    for again in (flat_again, racks_again):
        assert 0 < again.measured.median < 1000


@pytest.mark.slow
@pytest.mark.usefixtures("lab_possible")
def test_the_time_that_the_links_alone_need_is_measured(bench: Bench) -> None:
    (time,) = bench("neighbours").figures
    assert time.measured.median > 1


@pytest.mark.stress
@pytest.mark.usefixtures("lab_possible")
def test_the_siblings_of_a_slow_host_are_timed_with_and_without_it(bench: Bench) -> None:
    for figure in bench("slowlink").figures:
        assert figure.yardstick is not None
        assert figure.ratio is not None
        assert figure.ratio > 0


@pytest.mark.slow
@pytest.mark.usefixtures("lab_possible")
def test_hosts_of_a_lab_know_each_other_by_name_and_share_neither_mnt_nor_links() -> None:
    with Lab(["1", "1/1"], 100, {"1/1": 10}) as lab:

        def output_on(name: str, script: str) -> str:
            return subprocess.check_output([*lab.entry(name), "sh", "-c", script], text=True)

        assert output_on("1", "hostname; touch /mnt/here") == "node1\n"
        assert output_on("1/1", "ls /mnt") == ""
        assert output_on("master", f"getent hosts {lab.host('1/1')}").split() == [lab.address("1/1"), "node1-1"]
        assert "rate 10Mbit" in output_on("1/1", "tc qdisc show dev eth0")
        assert "rate 100Mbit" in output_on("master", "tc qdisc show dev eth0")


@pytest.mark.slow
@pytest.mark.usefixtures("lab_possible")
def test_scp_and_clush_copy_a_file_to_every_host_of_a_lab(tmp_path: Path) -> None:
    if (reason := ssh.missing()) is not None:
        pytest.skip(reason)
    layout = Layout("racks of 2", 2, 2)
    (tmp_path / "payload").write_bytes(os.urandom(100_000))
    with Lab(layout.names(), 100) as lab, ssh.Shells(lab, layout.names()) as shells:
        assert shells.scp_loop(str(tmp_path / "payload")) > 0
        shells.check(str(tmp_path / "payload"))
        if ssh.clush_path() is None:
            pytest.skip("clush is not installed: the extra `bench`")
        assert shells.clush_copy(str(tmp_path / "payload"), layout.leaves()) > 0


def test_an_unknown_measurement_is_a_usage_error_that_names_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "speed"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "'speed'" in done.stderr
    assert "dispatch" in done.stderr


def test_a_figure_says_its_median_range_budget_and_ratio() -> None:
    figure = Figure(
        what="date", unit="s", measured=Samples((0.3, 0.5, 0.4)), budget=0.22,
        yardstick=Yardstick("xargs", Samples((0.1, 0.2))),
    )  # fmt: skip
    assert figure.shown() == ("date: 0.40 s (0.30-0.50)\n    budget 0.22 s\n    2.67 x xargs: 0.15 s (0.10-0.20)")


def test_a_row_has_the_columns_of_the_table_in_the_docs() -> None:
    figure = Figure(
        what="date | cat", unit="s", measured=Samples((0.4,)), budget=0.22,
        yardstick=Yardstick("xargs", Samples((0.2,))),
    )  # fmt: skip
    assert markdown_row(figure.cells()) == r"| date \| cat | 0.40 s | xargs: 0.20 s | 2 | 0.22 s |"
    bare = Figure(what="date", unit="s", measured=Samples((0.4,)))
    assert markdown_row(bare.cells()) == "| date | 0.40 s |  |  |  |"


def test_a_machine_that_was_idle_half_the_time_was_busy_the_other_half() -> None:
    assert MachineTime(total=300, idle=150).busy_since(MachineTime(total=100, idle=50)) == 0.5


def test_the_quick_settings_are_smaller_than_the_budgets_in_every_way() -> None:
    full = Settings()
    assert QUICK.racks * QUICK.rack_size < full.racks * full.rack_size
    assert max(QUICK.lab_hosts) < min(full.lab_hosts)
    for field in ("runs", "payload_mb", "transfer_nodes", "output_mb", "output_nodes", "lab_mib"):
        assert getattr(QUICK, field) < getattr(full, field)
