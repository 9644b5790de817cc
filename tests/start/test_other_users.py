"""Users of a host into which root logs in to start a slave: /tmp is theirs too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.start.lab import Lab
from tests.start.test_start import started

PLANTED = """\
printf '#!/bin/sh\\nid -u >>/tmp/ran\\n' >/tmp/planted
chmod 755 /tmp/planted; chown 1234:1234 /tmp/planted"""


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


PLANTINGS = {
    "a link to tmp": "ln -s /tmp /tmp/gproc.1; cp -p /tmp/planted /tmp/{helper}",
    "a directory of root that all may write":
        "mkdir -m 777 /tmp/gproc.2; cp -p /tmp/planted /tmp/gproc.2/{helper}",
    "a directory of the user":
        "mkdir -m 700 /tmp/gproc.3; cp -p /tmp/planted /tmp/gproc.3/{helper}; chown 1234 /tmp/gproc.3",
    "a link to a directory that a group may write":
        "ln -s /tmp/there /var/tmp/gproc.4; mkdir -m 770 /tmp/there; cp -p /tmp/planted /tmp/there/{helper}",
}  # fmt: skip


def test_root_executes_nothing_that_a_user_has_put_there(lab: Lab, helper: str) -> None:
    lab.shell("h1", "; ".join([PLANTED, *PLANTINGS.values()]).format(helper=helper))
    assert len(lab.shell("h1", f"ls /tmp/gproc.*/{helper} /var/tmp/gproc.*/{helper}").split()) == len(PLANTINGS)
    assert started(lab, "-w", "h1")["h1"]["state"] == "up"
    assert lab.run("stop", "h1").returncode == 0
    assert lab.run("remove", "h1").returncode == 0
    assert "gproc.1" in lab.shell("h1", "ls /tmp"), "what others have there stays"
    assert lab.shell("h1", "cat /tmp/ran 2>&1").endswith("No such file or directory\n")
