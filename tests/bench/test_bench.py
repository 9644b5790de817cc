"""That every measurement runs and says what it measured; how fast is no matter of tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench.figures import QUICK, Figure, Report, Samples, Settings, Yardstick
from bench.lab import impossible

CHECKOUT = Path(__file__).parents[2]

Bench = Callable[..., Report]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Run `python -m bench --quick` with these arguments, as a user does; its report."""

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


@pytest.mark.parametrize("name", ["dispatch", "slave", "output", "transfer"])
@pytest.mark.slow
def test_a_measurement_on_this_machine_yields_positive_figures(bench: Bench, name: str) -> None:
    report = bench(name)
    assert report.figures
    assert all(value > 0 for figure in report.figures for value in figure.measured.values)


@pytest.mark.slow
def test_links_of_limited_rate_are_measured_in_payloads(bench: Bench) -> None:
    reason = impossible()
    if reason is not None:
        pytest.skip(reason)
    (figure,) = bench("links").figures
    assert figure.unit == "x"
    # Nothing is faster than its link.
    assert figure.measured.median > 1


def test_an_unknown_measurement_is_a_usage_error_that_names_those_there_are() -> None:
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
    assert figure.shown() == (
        "date: 0.40 s (0.30-0.50)\n    budget 0.22 s\n    2.67 x xargs: 0.15 s (0.10-0.20)"
    )


def test_the_quick_settings_are_smaller_than_the_budgets_in_every_way() -> None:
    full = Settings()
    assert QUICK.racks * QUICK.rack_size < full.racks * full.rack_size
    assert max(QUICK.lab_hosts) < min(full.lab_hosts)
    for field in ("runs", "payload_mb", "transfer_nodes", "output_mb", "output_nodes", "lab_mib"):
        assert getattr(QUICK, field) < getattr(full, field)
