"""Hosts of another kind of machine than the front end get the runtime that was packed for them, or are refused."""

from __future__ import annotations

import msgspec
import pytest

from gproc.runtime.making import keep_for, runtime_of_this_machine
from tests.start.lab import Lab
from tests.start.test_start import started

OTHER = r"""
cat >"$root/root/say" <<'SAY'
#!/bin/sh
exec /bin/sh -c "$(echo "$SSH_ORIGINAL_COMMAND" | sed "s/uname -m/echo MACHINE/")"
SAY
chmod 755 "$root/root/say"
echo "ForceCommand /root/say" >>"$root/etc/sshd_config"
"""


@pytest.fixture(scope="module")
def arm(hosts: Lab) -> str:
    """A host that says it is of another kind; it runs what this one runs."""
    hosts.add("arm", more=OTHER.replace("MACHINE", "aarch64"))
    hosts.ssh("arm", "true")
    return "arm"


def test_a_host_of_another_kind_is_refused_with_the_command_that_packs_a_runtime_for_it(lab: Lab, arm: str) -> None:
    found = started(lab, "-w", f"h1,{arm}")
    assert found["h1"]["state"] == "up"
    assert found[arm]["reason"].startswith("it is an aarch64 machine, and this runtime is for x86_64")
    assert found[arm]["reason"].endswith("gproc runtime -r ROOT packs one for aarch64 (docs/clusters.md)")


@pytest.mark.stress
def test_a_host_of_another_kind_gets_the_runtime_that_was_packed_for_it(lab: Lab, arm: str) -> None:
    """Its slave is stopped and removed as any other."""
    environ = {"HOME": str(lab.home), "XDG_CACHE_HOME": str(lab.place / "cache"), "GPROC_HOME": str(lab.gproc_home)}
    own = runtime_of_this_machine(environ)
    other = msgspec.structs.replace(own, machine="aarch64", helper=own.helper + b"\0")
    keep_for(environ, other, ())
    lab.shell("h1", "rm -rf /var/cache/gproc/runtimes")
    found = started(lab, "-w", f"h1,{arm}")
    assert {node["state"] for node in found.values()} == {"up"}, found
    assert lab.run("e", ".", "/bin/true").returncode == 0
    assert lab.run("stop", arm).stderr.count("no slave") == 0
    assert lab.slave(arm) == ""
    assert started(lab, "--failed")[arm]["sent_bytes"] < 10_000
    assert lab.run("remove", arm).returncode == 0
    assert lab.shell(arm, "ls /var/cache/gproc") == ""
