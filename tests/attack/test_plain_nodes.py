"""A local user of a plain node, where each job's own copy of its bundle lies below binRoot in everybody's sight."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.cluster import Cluster

STRANGER = 64_321

PROGRAM = """
echo "$GPROC_ROOT"
read go
"$GPROC_ROOT$PWD_AT_HOME/tool.sh"
"""

EXCHANGE = """
import os, sys
root, place, stranger = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.setgroups([]); os.setgid(stranger); os.setuid(stranger)
os.rename(root + place, root + place + "-away")
"""


@pytest.mark.parametrize("starter", ["native", "python"])
@pytest.mark.usefixtures("root_only")
def test_nobody_else_exchanges_what_a_job_of_root_runs_next(cluster: Cluster, tmp_path: Path, starter: str) -> None:
    """Its copy of a directory that is open to all, as /tmp is, was so too, and without the sticky bit.

    Any user of the node could put another program in the place of one that root's job was about to execute.
    """
    if starter == "python":
        cluster.env["GPROC_INIT"] = "python"
    cluster.slave(1, "-p=false")
    for directory in (cluster.place, *cluster.place.parents):
        if directory.is_relative_to(tmp_path.parent):
            directory.chmod(0o755)
    open_to_all = cluster.work / "open"
    (open_to_all / "here").mkdir(parents=True)
    open_to_all.chmod(0o1777)
    tool = open_to_all / "here" / "tool.sh"
    tool.write_text("#!/bin/sh\necho genuine\n")
    tool.chmod(0o755)
    program = cluster.write_program("program", PROGRAM)
    here = str(open_to_all / "here")
    job = cluster.begin("e", "-f", str(tool), "=1", program, stdin=subprocess.PIPE, env={"PWD_AT_HOME": here})
    assert job.stdout is not None
    root = job.stdout.readline().decode().strip()
    found = Path(root).stat()
    assert (found.st_mode & 0o7777, found.st_uid) == (0o700, 0)
    tried = subprocess.run(
        [sys.executable, "-I", "-c", EXCHANGE, root, here, str(STRANGER)], capture_output=True, text=True, check=False
    )
    assert "Permission denied" in tried.stderr
    stdout, stderr = job.communicate(b"go\n")
    assert (job.returncode, stdout) == (0, b"genuine\n"), stderr
