"""Nodes with roots of their own, and the home that the programs come from.

A node is a slave in a mount namespace whose root is a directory: it has nothing of this machine but /dev, /proc, /sys
and the network.  So a program finds there what the node has, and what gproc brought.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.fidelity.conftest import USER, keys_for
from tests.fidelity.programs.cases import Case, filled
from tests.fidelity.releases import unpacked
from tests.patience import PATIENCE_S
from tests.system.as_user import IMPORT_ALL, gproc_as
from tests.system.cluster import Cluster, Slave

NODES: Final = ("ramdisk", "bookworm", "bullseye", "trixie", "user", "plain")
"""What the case's programs are not on: busybox alone; three releases; an unprivileged slave, and one without views."""

CI_NODES: Final = ("ramdisk", pytest.param("bookworm", marks=pytest.mark.stress))

PACKAGES: Final = (
    "base-files", "base-passwd", "libc6", "libc-bin", "dash", "bash", "coreutils", "sed", "grep", "tar", "gzip", "mawk",
    "findutils", "libselinux1", "libacl1", "libattr1", "libpcre2-8-0", "libgmp10", "libcap2", "libtinfo6", "libcrypt1",
    "libgcc-s1",
)  # fmt: skip

_APPLET_NAMES: Final = """
    sh ls cat sed tr echo true uname env printf sleep id expr dirname basename readlink grep head tail wc cut sort touch
    rm mkdir cp mv ln test pwd date dd cmp find xargs tee seq which"""
_APPLETS: Final = _APPLET_NAMES.split()

_ENTER: Final = (
    IMPORT_ALL
    + """
import ctypes
import zstandard  # imported when a frame is large enough; on the node's root nothing can be imported
import gproc.native
with open(gproc.native.HELPER, "rb") as file:
    helper = file.read()
gproc.native.HELPER = b"/run/gproc-helper"
from gproc.root import kernel
top, place, uid = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2]), int(sys.argv[3])
del sys.argv[1:4]
kernel.unshare(kernel.CLONE_NEWNS)
kernel.mount(b"none", b"/", None, kernel.MS_REC | kernel.MS_SLAVE)
kernel.mount(top, top, None, kernel.MS_BIND)
for name in (b"/dev", b"/proc", b"/sys"):
    kernel.mount(name, top + name, None, kernel.MS_BIND | kernel.MS_REC)
kernel.mount(b"none", top + b"/run", b"tmpfs", 0, b"mode=0755")
kernel.mount(b"none", top + b"/tmp", b"tmpfs", 0, b"mode=1777")
os.makedirs(top + place)
kernel.mount(place, top + place, None, kernel.MS_BIND)
os.chdir(top)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall(155, b".", b".") == 0, ctypes.get_errno()  # pivot_root(2) of x86_64
assert libc.umount2(b".", 2) == 0, ctypes.get_errno()
os.chdir("/")
with open("/run/gproc-helper", "wb") as file:
    file.write(helper)
os.chmod("/run/gproc-helper", 0o755)
if uid:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
from gproc.cli.main import main
sys.exit(main())
"""
)


_MORE: Final = {"bullseye": ("libpcre3",)}
"""More packages of a release: the library of grep."""


class Result(msgspec.Struct, frozen=True):
    """What a run showed."""

    status: int
    stdout: bytes
    stderr: bytes


class Home:
    """Where one user keeps the cases' files: below /home, /opt, /tmp and /, under a name that no node has."""

    def __init__(self, uid: int) -> None:
        self.uid = uid
        name = f"gp-{os.getpid()}-{uid}"
        places = {"home": "/home", "opt": "/opt", "tmp": "/tmp", "top": ""}
        self.tops = {kind: Path(f"{place}/{name}") for kind, place in places.items()}
        for top in self.tops.values():
            top.mkdir(parents=True)
            os.chown(top, uid, uid)
        self._numbers: dict[str, int] = {}
        self._made: dict[str, set[Path]] = {}
        self._results: dict[str, Result] = {}

    def remove(self) -> None:
        for top in self.tops.values():
            shutil.rmtree(top)

    def directory(self, case: Case) -> Path:
        """The case's own, with a short name."""
        number = self._numbers.setdefault(case.name, len(self._numbers))
        return self.tops[case.at] / f"c{number}"

    def words(self, case: Case) -> dict[str, str]:
        prefix = sys.base_prefix if sys.base_prefix.startswith("/root/.pyenv") and not self.uid else "/none"
        return {"HOME": str(self.tops["home"]), "PYENV": prefix, "D": str(self.directory(case))}

    def env(self, case: Case) -> dict[str, str]:
        words = self.words(case)
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": words["HOME"], "PWD": words["D"],
            **{name: filled(value, words) for name, value in case.env.items()},
        }  # fmt: skip

    def set_up(self, case: Case) -> Path:
        """Make the case's files, once, and remove what runs left beside them."""
        directory = self.directory(case)
        if case.name not in self._made:
            directory.mkdir()
            os.chown(directory, self.uid, self.uid)
            env = {**self.env(case), "PATH": "/usr/local/bin:/usr/bin:/bin"}
            become = {} if not self.uid else {"user": self.uid, "group": self.uid, "extra_groups": []}
            done = subprocess.run(
                ["sh", "-ec", case.setup or ":"], cwd=directory, env=env, capture_output=True, check=False,
                **become,  # type: ignore[call-overload]
            )  # fmt: skip
            assert done.returncode == 0, done.stderr.decode()
            self._made[case.name] = set(directory.rglob("*"))
        for path in sorted(set(directory.rglob("*")) - self._made[case.name], reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        return directory

    def result(self, case: Case) -> Result:
        """What the case does here."""
        if case.name not in self._results:
            directory = self.set_up(case)
            words = [filled(word, self.words(case)) for word in case.run]
            env = self.env(case)
            become = {} if not self.uid else {"user": self.uid, "group": self.uid, "extra_groups": []}
            # As a shell runs it: a script without #! too, which execve(2) refuses.
            line = ["/bin/sh", "-c", 'exec "$@"', "sh", *words]
            done = subprocess.run(
                line, cwd=directory, env=env, input=case.stdin.encode(), capture_output=True, check=False,
                **become,  # type: ignore[call-overload]
            )  # fmt: skip
            self._results[case.name] = Result(done.returncode, done.stdout, done.stderr)
            self.set_up(case)
        return self._results[case.name]


class Nodes:
    """A master, and slaves that are started when a test first asks for them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._roots: dict[str, Path] = {}
        self._slaves: dict[str, Slave] = {}
        self._homes: dict[int, Home] = {}
        self._place = Path(tempfile.mkdtemp(prefix="gproc-roots-"))
        self._place.chmod(0o755)

    def stop(self) -> None:
        try:
            self._cluster.stop()
        finally:
            for home in self._homes.values():
                home.remove()
            shutil.rmtree(self._place)

    def home(self, node: str) -> Home:
        uid = USER if node == "user" else 0
        if uid not in self._homes:
            self._homes[uid] = Home(uid)
        return self._homes[uid]

    def run(self, node: str, case: Case) -> Result:
        """What the case does on a node, without gproc's own words on stderr."""
        number = self._number(node)
        home = self.home(node)
        words = home.words(case)
        argv = [
            *gproc_as(home.uid or None), f"--socket={self._cluster.socket}", "e",
            *(filled(word, words) for word in case.switches), number, *(filled(word, words) for word in case.run),
        ]  # fmt: skip
        directory = home.set_up(case)
        done = subprocess.run(
            argv, cwd=directory, env=home.env(case), input=case.stdin.encode(), capture_output=True, check=False,
            timeout=2 * PATIENCE_S,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def root(self, node: str) -> Path:
        """The directory that is the node's root."""
        release = {"user": "bookworm", "plain": "bookworm"}.get(node, node)
        if release not in self._roots:
            made = _ramdisk(self._place) if release == "ramdisk" else self._release(release)
            for name in ("dev", "proc", "sys", "run", "tmp", "root", "etc", "home", "opt", "var/tmp"):
                (made / name).mkdir(parents=True, exist_ok=True)
            if release == "ramdisk":
                for name in ("home", "opt"):
                    (made / name).rmdir()
            if release == "bullseye":
                # This node has the user's home, with something of its own in it.
                home = made / str(self.home(node).tops["home"])[1:]
                (home / ".config").mkdir(parents=True)
                (home / "here").write_text("the node's\n")
            (made / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
            (made / "etc/group").write_text("root:x:0:\n")
            self._roots[release] = made
        return self._roots[release]

    def _release(self, release: str) -> Path:
        made = unpacked(release, self._place / release, (*PACKAGES, *_MORE.get(release, ())))
        for name, to in (("sh", "dash"), ("awk", "mawk")):
            if not (made / "usr/bin" / name).is_symlink() and not (made / "usr/bin" / name).exists():
                (made / "usr/bin" / name).symlink_to(to)
        return made

    def _number(self, node: str) -> str:
        number = NODES.index(node) + 1
        if node not in self._slaves:
            cluster = self._cluster
            place = cluster.place / f"s{number}"
            place.mkdir()
            uid = self.home(node).uid
            os.chown(place, uid, uid)
            env = {**cluster.env, "GPROC_HOME": str(keys_for(cluster, uid)), "HOME": str(cluster.place)}
            argv = [
                sys.executable, "-c", _ENTER, str(self.root(node)), str(cluster.place), str(uid), "s", f"--id={number}",
                f"--parent=127.0.0.1:{cluster.port}", f"--store={place}/store", f"-binRoot={place}/root", "-cmdport=0",
                *(("-p=false",) if node == "plain" else ()),
            ]  # fmt: skip
            slave = Slave(argv, env, cluster.work)
            slave.bin_root = place / "root"
            cluster.slaves.append(slave)
            self._slaves[node] = cluster.joined(slave, cluster.master)
        return str(number)


def _ramdisk(place: Path) -> Path:
    """Busybox, and nothing else."""
    busybox = shutil.which("busybox", path="/usr/bin:/bin")
    if busybox is None:
        pytest.skip("needs a static busybox")
    made = place / "ramdisk"
    (made / "bin").mkdir(parents=True)
    shutil.copy(busybox, made / "bin/busybox")
    for applet in _APPLETS:
        (made / "bin" / applet).symlink_to("busybox")
    return made
