"""Users of a host into which root logs in to start a slave: /tmp is theirs too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.start.lab import Lab
from tests.start.test_start import started

PLANTED = """
printf '#!/bin/sh\\nid -u >>/tmp/ran\\n' >/tmp/planted
chmod 755 /tmp/planted; chown 1234:1234 /tmp/planted
"""


@pytest.fixture
def helper(lab: Lab) -> Iterator[str]:
    """The name of the static helper on a host.  h1 has no directory of ours, and none that was planted after it."""
    clean = "rm -rf /var/cache/gproc /tmp/* /var/tmp/* /dev/shm/*"
    started(lab, "-w", "h1")
    name = lab.shell("h1", "cd /var/cache/gproc/runtimes; ls -d helper-*").strip()
    lab.run("stop", "h1")
    lab.shell("h1", clean)
    yield name
    lab.run("stop")
    lab.shell("h1", clean)


@pytest.mark.parametrize(
    "planting",
    [
        "ln -s /tmp /tmp/gproc.1; cp -p /tmp/planted /tmp/{helper}",
        "mkdir -m 777 /tmp/gproc.1; chown 0:0 /tmp/gproc.1; cp -p /tmp/planted /tmp/gproc.1/{helper}",
        "mkdir -m 755 /tmp/gproc.1; cp -p /tmp/planted /tmp/gproc.1/{helper}; chown 1234 /tmp/gproc.1",
        "ln -s /tmp/there /tmp/gproc.1; mkdir -m 770 /tmp/there; cp -p /tmp/planted /tmp/there/{helper}",
    ],
    ids=["a link to tmp", "a directory of root that all may write", "a directory of the user", "a link to a group's"],
)
def test_root_executes_nothing_that_a_user_has_put_there(lab: Lab, helper: str, planting: str) -> None:
    lab.shell("h1", PLANTED + planting.format(helper=helper))
    assert "ran" not in lab.shell("h1", "ls /tmp").split()
    assert started(lab, "-w", "h1")["h1"]["state"] == "up"
    assert lab.shell("h1", "cat /tmp/ran 2>&1").endswith("No such file or directory\n")
    assert lab.run("stop", "h1").returncode == 0
    assert lab.shell("h1", "cat /tmp/ran 2>&1").endswith("No such file or directory\n")
