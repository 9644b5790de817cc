"""The systemd units: systemd takes them, and the master works with as few rights as its unit leaves it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.cluster import Cluster

UNITS = Path(__file__).parents[2] / "packaging"


def lines(unit: str) -> set[str]:
    return set((UNITS / unit).read_text().splitlines())


@pytest.mark.parametrize("unit", ["gproc-master.service", "gproc-slave.service"])
def test_systemd_finds_nothing_wrong_with_a_unit(unit: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    text = (UNITS / unit).read_text().replace("/usr/local/bin/gproc", "/bin/true")
    (tmp_path / unit).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)], capture_output=True, text=True, timeout=60
    )
    about_it = [line for line in done.stderr.splitlines() if unit in line]
    assert (done.returncode, about_it) == (0, []), done.stderr


def test_the_slaves_unit_has_nothing_that_would_break_jobs() -> None:
    broken_by = ("PrivateTmp", "RestrictNamespaces", "NoNewPrivileges", "ProtectSystem", "CapabilityBoundingSet")
    assert not [line for line in lines("gproc-slave.service") if line.startswith(broken_by)]
    assert {"Delegate=yes", "KeyringMode=private"} <= lines("gproc-slave.service")


def test_the_master_needs_no_capability(tmp_path: Path) -> None:
    """As with CapabilityBoundingSet= and NoNewPrivileges=yes of its unit."""
    if shutil.which("setpriv") is None or os.geteuid() != 0:
        pytest.skip("needs root and setpriv, of util-linux")
    assert {"CapabilityBoundingSet=", "NoNewPrivileges=yes"} <= lines("gproc-master.service")
    cluster = Cluster(tmp_path / "c")
    cluster.under = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    cluster.start_master()
    cluster.under = ()
    cluster.slave(1)
    done = cluster.exec("1", "/bin/echo", "well")
    status = Path(f"/proc/{cluster.master.pid}/status").read_text()
    cluster.stop()
    assert "CapEff:\t0000000000000000" in status
    assert (done.returncode, done.stdout) == (0, b"well\n")
