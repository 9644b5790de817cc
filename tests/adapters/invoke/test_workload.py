"""The end of a job: somebody waits for it, whatever happens."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from gproc.adapters.invoke.attributes import Redirect
from gproc.adapters.invoke.job import Began, WorkEnd, run_workload
from gproc.adapters.invoke.redirect import OutputFiles
from gproc.errors import EXIT_GPROC


class Broken:
    """A workload with a bug in it."""

    async def run(self, began: Began, output: OutputFiles) -> WorkEnd:
        began("one process")
        output.write("p", "stdout", b"said")
        raise RuntimeError("dictionary changed size during iteration")

    def stop(self) -> None:
        pass


def test_a_bug_ends_the_job_and_is_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever waited for the job waited for ever, and its last output was in no file."""
    output = OutputFiles(Redirect(str(tmp_path / "out"), os.devnull))
    end = asyncio.run(run_workload(Broken(), lambda _: None, output))
    assert end.status == EXIT_GPROC
    assert "a bug in gproc: RuntimeError('dictionary changed" in end.reasons[0]
    assert (tmp_path / "out").read_text() == "said"
    assert "this is a bug in gproc" in caplog.text
