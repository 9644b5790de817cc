"""Why a host cannot be started is said for that host, in ssh's or the kernel's own words; other hosts are started."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.start.lab import HEAD, NETWORK, Lab
from tests.start.test_start import started

NOEXEC = """
for d in var/cache var/tmp tmp dev/shm run; do
    mkdir -p "$root/$d"
    mount -t tmpfs -o noexec,mode=1777 tmpfs "$root/$d"
done
mkdir -p "$root/run/sshd"
"""
CACHE = 'mkdir -p "$root/var/cache"; mount -t tmpfs -o {} tmpfs "$root/var/cache"'
TALKING = r"""
printf '#!/bin/sh\necho welcome; echo to this host\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n' >"$root/root/talk"
chmod 755 "$root/root/talk"
echo "ForceCommand /root/talk" >>"$root/etc/sshd_config"
"""
TALK_TO = """
import socket, sys
with socket.create_connection((sys.argv[1], 22)) as connection:
    print(connection.recv(100).decode().strip(), flush=True)
    sys.stdin.read()
"""
NOLOGIN = r"""
printf '#!/bin/sh\necho This account is currently not available.\nexit 1\n' >"$root/closed"
chmod 755 "$root/closed"
sed -i "s,/root:/bin/sh,/root:/closed," "$root/etc/passwd"
"""
DEAF = r"""
printf '#!/bin/sh\nexec sleep 1000\n' >"$root/deaf"
chmod 755 "$root/deaf"
sed -i "s,/root:/bin/sh,/root:/deaf," "$root/etc/passwd"
"""
LEAVING = r"""
printf '#!/bin/sh\nexit 3\n' >"$root/leaving"
chmod 755 "$root/leaving"
sed -i "s,/root:/bin/sh,/root:/leaving," "$root/etc/passwd"
"""
DISKLESS = """
mkdir -p "$root/var/cache"
mount --bind "$root/var/cache" "$root/var/cache"
mount -o remount,bind,ro "$root/var/cache"
"""
READ_ONLY = 'mkdir -p "$root/var/cache"; rmdir "$root/dev/shm"; mount -o remount,ro "$root"'
CROWDED = 'sed -i "s/MaxStartups.*/MaxStartups 1/" "$root/etc/sshd_config"'


@pytest.fixture(scope="module")
def odd(hosts: Lab) -> Lab:
    """With hosts at which something is wrong."""
    hosts.add("refusing", key="other")
    hosts.add("stranger", known=False)
    hosts.add("changed", known=False)
    hosts.know("changed", "other")
    hosts.add("noexec", more=NOEXEC)
    hosts.add("partly", more=CACHE.format("noexec"))
    hosts.add("full", more=CACHE.format("size=1m"))
    hosts.add("other", more="before='setarch i686'")
    hosts.add("talking", more=TALKING)
    hosts.add("nologin", more=NOLOGIN)
    hosts.add("readonly", more=READ_ONLY)
    hosts.add("crowded", more=CROWDED)
    hosts.add("tiny", more=CACHE.format("size=16k"))
    hosts.add("diskless", more=DISKLESS)
    hosts.add("deaf", more=DEAF)
    hosts.add("leaving", more=LEAVING)
    hosts.add("no-proc", more='umount "$root/proc"')
    hosts.alias("nowhere", f"{NETWORK}.99")
    hosts.alias("nameless", "no-such-host.invalid")
    hosts.alias("beyond", f"{NETWORK}.1\n  ProxyJump no-such-jump.invalid")
    for name in (
        "noexec", "partly", "full", "other", "talking", "nologin", "readonly", "crowded", "tiny", "diskless", "leaving",
        "no-proc",
    ):  # fmt: skip
        hosts.ssh(name, "true")
    return hosts


ALL = (
    "refusing,stranger,changed,noexec,partly,full,other,talking,nologin,readonly,crowded,tiny,diskless,deaf,leaving,no-proc"
    ",nowhere,nameless,beyond,hanging,h1"
)


@pytest.fixture(scope="module")
def found(odd: Lab, silent: None) -> Iterator[dict[str, dict[str, Any]]]:
    """How each host fared that was started in one command.  Somebody else is logging in to `crowded`."""
    with subprocess.Popen(
        [*odd.in_head(), sys.executable, "-c", TALK_TO, odd.hosts["crowded"]],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline().startswith(b"SSH-")
        found = started(odd, "-w", ALL, "--connect-timeout=6", "--parallel=8")
    yield found
    odd.run("stop")
    (odd.gproc_home / "started.json").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("refusing", "Permission denied"),
        ("stranger", "not in known_hosts: log in by ssh once, or use --accept-new-host-keys"),
        ("changed", "another one than known_hosts has"),
        ("noexec", "no directory in which programs may be executed"),
        ("full", "No space left on device"),
        ("other", "it is an i686 machine, and this runtime is for"),
        ("nologin", "This account is currently not available"),
        ("readonly", "no directory in which programs may be executed: .*Read-only file system"),
        ("crowded", "Connection (lost|reset by peer), each time before the login|no answer within 6 s"),
        ("nowhere", "No route to host|no answer within 6 s"),
        ("nameless", "not known|resolution"),
        ("beyond", r"(not known|resolution).*; by way of no-such-jump\.invalid \(ProxyJump\)"),
        ("hanging", "no answer within 6 s"),
        ("deaf", "no answer from its login shell for"),
        ("leaving", "its login shell ended without a word, with status 3"),
        ("no-proc", "no /proc is mounted there"),
    ],
)
def test_what_is_wrong_is_named_for_its_host(found: dict[str, dict[str, Any]], host: str, words: str) -> None:
    assert found[host]["state"] == "failed"
    assert re.search(words, found[host]["reason"]), found[host]["reason"]


@pytest.mark.parametrize("host", ["partly", "talking", "tiny", "diskless", "h1"])
def test_what_is_wrong_with_one_host_stops_no_other(found: dict[str, dict[str, Any]], host: str) -> None:
    """partly, tiny, diskless: the usual directory allows no programs, is full, or is read-only.  talking: the login
    shell says something.
    """
    assert found[host]["state"] == "up"


def test_a_disk_that_is_full_holds_no_half_of_a_runtime(odd: Lab, found: dict[str, dict[str, Any]]) -> None:
    assert lab_listing(odd, "full").count("runtime-") == 0


def lab_listing(lab: Lab, host: str) -> str:
    return lab.shell(host, "ls -a /var/cache/gproc/runtimes")


def test_a_key_that_is_not_known_can_be_accepted_and_one_that_differs_cannot(lab: Lab, odd: Lab) -> None:
    assert started(lab, "-w", "stranger", "--accept-new-host-keys")["stranger"]["state"] == "up"
    lab.run("stop")
    found = started(lab, "-w", "stranger,changed", "--accept-new-host-keys")
    assert (found["stranger"]["state"], found["changed"]["state"]) == ("up", "failed")


def test_a_host_where_the_usual_directory_allows_no_programs_uses_another(lab: Lab, odd: Lab) -> None:
    for _ in range(2):
        found = started(lab, "-w", "partly")
        assert found["partly"]["state"] == "up", found
        lab.run("stop")
    assert found["partly"]["sent_bytes"] < 10_000
    assert "/var/tmp/gproc." in lab.shell("partly", "ls -d /var/tmp/gproc.*")


def test_a_host_gets_another_helper_where_it_has_its_runtimes(lab: Lab, odd: Lab) -> None:
    """With each version there was one more directory, of 50 MB."""
    assert started(lab, "-w", "partly")["partly"]["state"] == "up"
    lab.run("stop")
    (place,) = lab.shell("partly", "ls -d /var/tmp/gproc.*").split()
    lab.shell("partly", f"cd {place}; for h in helper-*; do mv $h helper-older; done")
    found = started(lab, "-w", "partly")["partly"]
    assert (found["state"], found["sent_bytes"] < 200_000) == ("up", True), found
    lab.run("stop")
    assert lab.shell("partly", "ls -d /var/tmp/gproc.*").split() == [place]


def test_a_master_that_does_not_take_nodes_at_an_address_is_said_once(lab: Lab, odd: Lab) -> None:
    started(lab, "-w", "h1")
    done = lab.run("start", "-w", "h2", f"--address={NETWORK}.98")
    assert done.returncode == 125
    assert f"the master here does not take nodes at {NETWORK}.98 port 6666" in done.stderr


def test_a_child_that_has_no_way_to_its_parent(lab: Lab, odd: Lab) -> None:
    """As behind a firewall: the front end shows what the child's kernel says, and the child's slave is gone."""
    started(lab, "-w", "h1,h3", "--fanout=1")
    lab.run("stop", "1/1")
    lab.shell("h3", f"ip route add prohibit {lab.hosts['h1']}/32")
    try:
        found = started(lab, "--failed", "--connect-timeout=3")
    finally:
        lab.shell("h3", f"ip route del prohibit {lab.hosts['h1']}/32")
    assert "cannot join" in found["h3"]["reason"], found
    assert found["h1"]["state"] == "up"
    lab.await_no_slave("h3")
    # No answer at all, as of a firewall that drops packets.
    lab.ip("h3", "neigh", "replace", lab.hosts["h1"], "lladdr", "02:00:00:00:00:01", "nud", "permanent", "dev", "eth0")
    try:
        found = started(lab, "--failed", "--connect-timeout=3")
    finally:
        lab.ip("h3", "neigh", "del", lab.hosts["h1"], "dev", "eth0")
    assert found["h3"]["reason"] == (
        f"no answer from its parent at {lab.hosts['h1']} port 6666 within 3 s: is a firewall between them?"
    )
    lab.await_no_slave("h3")


def test_a_parent_that_is_not_up_is_named(lab: Lab, odd: Lab) -> None:
    found = started(lab, "-w", "refusing,h1", "--fanout=1")
    assert found["h1"]["reason"] == "its parent refusing is not up"


def test_a_host_that_goes_away_while_it_is_sent_to(lab: Lab, odd: Lab) -> None:
    lab.shell("h3", "rm -rf /var/cache/gproc/runtimes")
    process = lab.begin("start", "-w", "h3")
    reader = threading.Thread(target=process.communicate)
    reader.start()
    while "bootstrap" not in lab.shell("h3", "ps"):
        assert process.poll() is None
    lab.shell("h3", "kill $(ps | grep 'sshd: root@[n]otty' | awk '{print $1}')")
    reader.join()
    assert process.returncode == 1
    lab.await_no_slave("h3")
    assert started(lab, "-w", "h3")["h3"]["state"] == "up"


BUSY_AT_FIRST = """
import socket, sys, threading
server = socket.create_server(("", 0))
print(server.getsockname()[1], flush=True)
for _ in range(2):
    server.accept()[0].close()
near, far = server.accept()[0], socket.create_connection((sys.argv[1], 22))

def carry(source, to):
    while data := source.recv(65536):
        to.sendall(data)
    to.shutdown(socket.SHUT_WR)

threading.Thread(target=carry, args=(far, near)).start()
carry(near, far)
"""


def test_a_server_that_closes_at_first_is_asked_again(lab: Lab, odd: Lab) -> None:
    """As sshd does with some of many logins at a time; a jump host has those of all hosts."""
    words = [*lab.in_head(), sys.executable, "-c", BUSY_AT_FIRST, lab.hosts["h2"]]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        lab.alias("busy", f"{HEAD}\n  Port {int(busy.stdout.readline())}")
        try:
            assert started(lab, "-w", "busy", "--accept-new-host-keys", "--connect-timeout=60")["busy"]["state"] == "up"
        finally:
            busy.kill()
