"""`make demo` shows what it promises: a change of any command's output must not break it unseen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_the_demo_runs_to_its_end() -> None:
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "scripts" / "demo.py")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The demo failed" not in done.stdout + done.stderr
