"""What a launcher does on a kernel that does not know some system calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.refusing import CLOSE_RANGE, PIDFD_OPEN, refuse


def test_a_slave_joined_whose_kernel_could_run_no_job(tmp_path: Path) -> None:
    """Every job failed with "Function not implemented"; now the slave does not begin."""
    code = refuse(PIDFD_OPEN) + "from gproc.cli.main import main\nimport sys\nsys.exit(main())\n"
    done = subprocess.run(
        [sys.executable, "-c", code, "s", "--parent=127.0.0.1:9"],
        env={**os.environ, "GPROC_HOME": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "no job can run on this host: its kernel has no pidfd_open(2), which came with Linux 5.3" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("numbers", [(), (CLOSE_RANGE,)])
def test_an_older_kernel_is_not_asked_to_close_a_million_descriptors(numbers: tuple[int, ...]) -> None:
    """Each of its numbers was tried, up to the limit, for each job."""
    code = """
import os
from gproc.root import kernel
def each_number(first, last):
    raise AssertionError("one by one")
os.closerange = each_number
for number in (5, 6, 900):
    os.dup2(1, number)
kernel.close_from(6)
print(*(number for number in (1, 5, 6, 900) if os.path.exists(f"/proc/self/fd/{number}")))
"""
    done = subprocess.run([sys.executable, "-c", refuse(*numbers) + code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 5\n"
