"""A user hears that there is no master at once, not after 50 GB have been read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.system.cluster import Cluster

NO_MASTER = b"gproc: no master is listening at /no/socket: start one with 'gproc m'\n"


@pytest.mark.parametrize(
    "words",
    [
        ["cp", "/no/file", "1:/tmp/x"],
        ["e", "-f", "/no/file", "1", "/bin/true"],
        ["e", "--venv", "/no/environment", "1", "/bin/true"],
        ["e", "--with-package", "1", sys.executable],
        ["map", "-f", "/no/file", "1", "/bin/true", ":::", "a"],
    ],
    ids=" ".join,
)
def test_no_file_is_read_for_a_master_that_is_not_there(tree: Cluster, words: list[str]) -> None:
    mode, *rest = words
    done = tree.command(mode, "--socket", "/no/socket", *rest)
    assert (done.returncode, done.stdout, done.stderr) == (125, b"", NO_MASTER)


def test_the_master_does_not_complain_of_who_only_asks_whether_it_is_there(tree: Cluster, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    done = tree.command("cp", str(tmp_path / "file"), f"9:{tmp_path}/there")
    assert (done.returncode, done.stderr) == (125, b"gproc: not connected: 9\n")
    assert "client" not in tree.master.log
