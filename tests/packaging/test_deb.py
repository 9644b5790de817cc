"""The Debian package: built by one command, installed, used and purged by dpkg in a copy of this machine's root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

CHECKOUT = Path(__file__).parents[2]
pytestmark = pytest.mark.stress

UNREACHABLE = ("No matching distribution", "Max retries exceeded")
"""pip's words if an index, or a file of one, does not answer."""

ROOT = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --bind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/run"
mount -t tmpfs tmpfs "$1/root/tmp"
cp "$2" "$1/root/opt/gproc.deb"
ip link set lo up
echo up
[ "$3" = systemd ] || exec sleep infinity
mount -t sysfs sysfs "$1/root/sys"
mount -t tmpfs tmpfs "$1/root/sys/fs/cgroup"
mkdir "$1/root/sys/fs/cgroup/systemd" "$1/root/sys/fs/cgroup/unified"
mount -t cgroup -o none,name=systemd cgroup "$1/root/sys/fs/cgroup/systemd" ||
    mount -t cgroup2 cgroup2 "$1/root/sys/fs/cgroup"
exec chroot "$1/root" env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target >/dev/null 2>&1
"""


def why_not() -> str:
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in ("dpkg-deb", "unshare", "nsenter", "ip")):
        return "needs root, dpkg and namespaces"
    minor = f"python3.{sys.version_info.minor}"
    if not os.path.exists(f"/usr/bin/{minor}"):
        return f"needs Debian's {minor}: the package made here is for that one"
    return ""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := why_not():
        pytest.skip(reason)
    place = tmp_path_factory.mktemp("deb")
    done = subprocess.run(
        ["sh", CHECKOUT / "scripts" / "deb.sh", sys.executable, place, "-Znone"], capture_output=True, text=True
    )
    if any(words in done.stderr for words in UNREACHABLE):
        pytest.skip(f"pip finds no packages, so there is no index to reach: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


class Root:
    """A root in which all that is written is in memory, without a network.  init: its process 1; "" for none."""

    def __init__(self, place: Path, package: Path, init: str = "") -> None:
        place.mkdir()
        words = ["unshare", "--mount", "--net", "--uts", "--pid", "--ipc", "--cgroup", "--fork", "--kill-child"]
        words += ["--propagation", "private", "sh", "-c", ROOT, "sh", str(place), str(package), init]
        self._holder = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._holder.stdout is not None and self._holder.stderr is not None
        if self._holder.stdout.readline() != b"up\n":
            self.close()
            pytest.skip(f"no root of its own can be made here: {self._holder.stderr.read().decode().strip()}")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text()
        self._upper = str(place / "upper")
        self._outside = ["nsenter", "-t", children.split()[0], "--mount"]
        self._inside = ["nsenter", "-t", children.split()[0], "--all", "chroot", str(place / "root"), "env", "-i"]
        self._inside += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "LANG=C.UTF-8"]

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._inside, *words], stdin=subprocess.DEVNULL)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._inside, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE_S
        )

    def succeeds(self, *words: str) -> bool:
        """Whether it does before our patience ends."""
        until_s = time.monotonic() + PATIENCE_S
        while self.run(*words).returncode != 0:
            if time.monotonic() > until_s:
                return False
        return True

    def written(self) -> set[str]:
        """Paths of files that were written in it and are still there, but for the notes of dpkg and man-db's index."""
        notes = ("/var/lib/dpkg/", "/var/log/", "/var/cache/man/", "/opt/gproc.deb")
        words = [*self._outside, "find", self._upper, "-type", "f", "-printf", "/%P\\n"]
        found = subprocess.run(words, capture_output=True, text=True, check=True)
        return {path for path in found.stdout.splitlines() if not path.startswith(notes)}

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


@pytest.fixture
def root(tmp_path: Path, package: Path) -> Iterator[Root]:
    found = Root(tmp_path / "overlay", package)
    yield found
    found.close()


def test_the_package_is_installed_works_and_is_purged_without_a_trace(root: Root) -> None:
    installed = root.run("dpkg", "--install", "/opt/gproc.deb")
    assert installed.returncode == 0, installed.stderr
    assert root.run("gproc", "--version").stdout.startswith("gproc ")
    assert "Usage: sh scripts/copytonodes.sh FIRST LAST" in root.run("gproc-copytonodes").stderr
    master = root.begin("gproc", "m")
    assert root.succeeds("gproc", "i")
    slave = root.begin("gproc", "s")
    assert root.succeeds("gproc", "e", ".", "/bin/true")
    done = root.run("gproc", "e", ".", "/bin/echo", "well")
    assert done.stdout == "well\n"
    assert root.run("gproc", "e", "./.", "/bin/date").returncode == 0
    assert root.run("gproc", "runtime").stdout.startswith("RUNTIME"), "a front end from the package can start nodes"
    assert root.run("gproc", "stop").returncode == 0
    assert (master.wait(PATIENCE_S), slave.wait(PATIENCE_S)) == (0, 0)
    purged = root.run("dpkg", "--purge", "gproc")
    assert purged.returncode == 0, purged.stderr
    assert "not empty" not in purged.stderr
    assert root.written() == set()
    assert root.run("find", "/usr/lib/gproc", "/var/cache/gproc", "/var/lib/gproc", "/run/gproc").stdout == ""


def test_systemd_starts_master_and_slave_of_the_package(tmp_path: Path, package: Path) -> None:
    """With all limits of their units; it says that they are up when they are, and what they do."""
    root = Root(tmp_path / "overlay", package, "systemd")
    try:
        assert root.run("dpkg", "--install", "/opt/gproc.deb").returncode == 0
        if not os.path.exists("/lib/systemd/systemd") or not root.succeeds("systemctl", "daemon-reload"):
            pytest.skip("systemd does not start in a namespace here")
        for unit in ("gproc-master", "gproc-slave"):
            started = root.run("systemctl", "start", unit)
            assert started.returncode == 0, started.stderr + root.run("systemctl", "--no-pager", "status", unit).stdout
        done = root.run("gproc", "e", ".", "/bin/echo", "well")
        assert done.stdout == "well\n", "a slave is up when it has joined"
        assert "joined 127.0.0.1" in root.run("systemctl", "show", "--property=StatusText", "gproc-slave").stdout
        for unit in ("gproc-slave", "gproc-master"):
            assert root.run("systemctl", "stop", unit).returncode == 0
            assert root.run("systemctl", "show", "--property=Result", unit).stdout == "Result=success\n"
    finally:
        root.close()


def test_the_units_start_the_program_that_is_there(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", package, tmp_path / "x"], check=True)
    for name in ("gproc-master", "gproc-slave"):
        unit = (tmp_path / "x" / "usr/lib/systemd/system" / f"{name}.service").read_text()
        assert f"ExecStart=/usr/bin/gproc {name[6]}\n" in unit
    assert os.readlink(tmp_path / "x/usr/bin/gproc") == "../lib/gproc/bin/gproc"


def test_nothing_in_the_package_names_the_machine_that_made_it(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-R", package, tmp_path / "x"], check=True)
    names = {str(CHECKOUT), str(package.parent), sys.prefix, sys.base_prefix} - {"/usr"}
    for name in names:
        found = subprocess.run(["grep", "-rlF", name, tmp_path / "x"], capture_output=True, text=True)
        assert found.stdout == "", f"they have {name}"


def test_a_package_without_the_static_helper_is_not_made(package: Path, tmp_path: Path) -> None:
    """It was made without a word, for this architecture, and `gproc start` could start no node with it."""
    done = subprocess.run(
        ["sh", CHECKOUT / "scripts" / "deb.sh", sys.executable, tmp_path, "-Znone"],
        capture_output=True, text=True, env={**os.environ, "CC": "false"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "gproc's static helper is not in gproc-" in done.stderr
    assert not list(tmp_path.iterdir())
