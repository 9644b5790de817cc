"""Nodes that forbid something, and directories that cannot be binRoot: jobs run or are refused with the reason."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.fidelity.conftest import USER, keys_for
from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster, Slave

FORBID_NAMESPACES: Final = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
rules = (
    (0x20, 0, 0, 0), (0x15, 4, 0, 272), (0x15, 0, 4, 56), (0x20, 0, 0, 16), (0x54, 0, 0, 0x7E020000), (0x15, 1, 0, 0),
    (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000),
)
code = b"".join(struct.pack("HBBI", *rule) for rule in rules)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(rules), code))) == 0
"""
"""A seccomp filter that makes unshare(2), number 272 on x86_64, and clone(2), 56, with new namespaces fail with EPERM,
as in many containers: seccomp(2)."""

MOUNT_NOEXEC: Final = """
from gproc.root import kernel
kernel.unshare(kernel.CLONE_NEWNS)
kernel.mount(b"none", b"/", None, kernel.MS_REC | kernel.MS_SLAVE)
kernel.mount(b"none", b"{place}", b"tmpfs", kernel.MS_NOEXEC, b"mode=1777")
"""


def slave_after(cluster: Cluster, code: str, uid: int = 0, *switches: str) -> Slave:
    """Node 1, whose process ran `code` before it became a slave."""
    cluster.place.chmod(0o755)
    place = cluster.place / "node1"
    place.mkdir(exist_ok=True)
    os.chown(place, uid, uid)
    become = gproc_as(uid)
    words = ["s", "--id=1", f"--parent=127.0.0.1:{cluster.port}", f"--store={place}/store", f"-binRoot={place}/root"]
    env = {**cluster.env, "GPROC_HOME": str(keys_for(cluster, uid))}
    slave = Slave([*become[:2], code + become[2], *become[3:], *words, "-cmdport=0", *switches], env, cluster.work)
    slave.bin_root = place / "root"
    cluster.slaves.append(slave)
    return cluster.joined(slave, cluster.master)


@pytest.mark.parametrize("uid", [0, USER])
def test_a_node_that_forbids_namespaces_runs_plain_and_says_so(cluster: Cluster, root_only: None, uid: int) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("needs x86_64, for its seccomp filter")
    slave_after(cluster, FORBID_NAMESPACES, uid)
    (cluster.place / "caches").mkdir(mode=0o777)
    (cluster.place / "caches").chmod(0o777)
    env = {"XDG_CACHE_HOME": str(cluster.place / "caches")}
    assert cluster.states() == {"1": "plain"}
    told = cluster.command("i").stdout.decode()
    because = r"(\[Errno 1\] unshare\(|clone with new namespaces: Operation)"
    assert re.search(rf"has no private view: no namespaces: {because}", told)
    script = "setsid sleep 1000 >/dev/null 2>&1 & echo $0; exit 3"
    done = cluster.exec("1", "/bin/sh", "-c", script, "name", uid=uid or None, env=env)
    assert (done.returncode, done.stdout) == (3, b"name\n"), done.stderr
    cluster.nothing_runs()


@pytest.mark.parametrize("switches", [(), ("-p=false",)])
def test_a_view_works_on_a_noexec_tmp_and_a_plain_node_names_it(
    cluster: Cluster, root_only: None, switches: Sequence[str]
) -> None:
    place = cluster.place / "node1"
    place.mkdir()
    slave_after(cluster, MOUNT_NOEXEC.format(place=place), 0, *switches)
    done = cluster.exec("1", cluster.write_program("mine", "readlink /proc/self/exe"))
    if switches:
        assert done.returncode == 125
        assert f"binRoot {place}/root is on a file system mounted noexec" in done.stderr.decode()
        assert cluster.exec("-localbin", "1", "/bin/true").returncode == 0
    else:
        assert (done.returncode, done.stdout) == (0, b"/usr/bin/readlink\n"), done.stderr


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("link", "is a symbolic link of root (uid 0): name the directory itself with -binRoot"),
        ("file", "is not a directory, and belongs to root (uid 0): remove it, or choose another with -binRoot"),
        ("another's", f"belongs to uid {USER}, who could exchange what jobs execute"),
        ("open", "may be written to by others"),
    ],
)
def test_a_directory_that_cannot_be_binroot_is_refused_with_the_reason(
    cluster: Cluster, root_only: None, kind: str, reason: str
) -> None:
    place = cluster.place / "place"
    if kind == "link":
        place.symlink_to("/usr")
    elif kind == "file":
        place.touch()
    else:
        place.mkdir()
        place.chmod(0o777 if kind == "open" else 0o755)
        os.chown(place, USER if kind == "another's" else 0, -1)
    slave = cluster.launch_slave(f"-binRoot={place}")
    assert slave.wait() == 125
    assert reason in slave.log
    cluster.forget(slave)


def test_a_mount_point_and_a_missing_directory_can_be_binroot(cluster: Cluster, root_only: None) -> None:
    place = cluster.place / "mounted"
    place.mkdir()
    code = MOUNT_NOEXEC.format(place=place).replace("kernel.MS_NOEXEC", "0").replace("1777", "0755")
    slave_after(cluster, code, 0, f"-binRoot={place}")
    script = "echo x >here; cat here; echo $GPROC_ROOT"
    done = cluster.exec("1", "/bin/sh", "-c", script)
    assert (done.returncode, done.stdout.decode()) == (0, f"x\n{place}\n"), done.stderr
    assert list(Path(place).iterdir()) == []
    cluster.slave(2, f"-binRoot={cluster.place}/a/b/c")
    assert cluster.exec("2", "/bin/sh", "-c", script).stdout.decode() == f"x\n{cluster.place}/a/b/c\n"
