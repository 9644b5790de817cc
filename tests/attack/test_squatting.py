"""A user who takes /tmp/g or /tmp/xproc first does not stop others, and is named."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

import gproc
from gproc.errors import GprocError, TrustError
from gproc.root.binroot import claim_usual
from gproc.service.listening import Squatted, clear_the_way
from gproc.trust import meeting
from tests.patience import PATIENCE_S
from tests.system.cluster import NOBODY, Cluster, Daemon

OWN: Final = f"nobody (uid {NOBODY})"


def as_nobody(*words: str) -> list[str]:
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--", *words]


class Machine:
    """This machine with a /tmp and a /run of its own, where root's master and slave use their usual places."""

    def __init__(self, place: Path) -> None:
        checkout = Path(gproc.__file__).parents[1]
        if Path("/tmp") in checkout.parents or Path("/run") in checkout.parents:
            pytest.skip(f"{checkout} would be hidden by a /tmp and a /run of the test's own")
        self.cluster = Cluster(place / "c")
        self._holder = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo in; exec sleep 1000"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"in\n"
        self.do("mount", "-t", "tmpfs", "-o", "mode=1777", "none", "/tmp")
        self.do("mount", "-t", "tmpfs", "-o", "mode=0755", "none", "/run")
        self._daemons: list[Daemon] = []

    def inside(self, *words: str) -> list[str]:
        return ["nsenter", "-t", str(self._holder.pid), "-m", "--", *words]

    def do(self, *words: str) -> str:
        return subprocess.run(self.inside(*words), check=True, capture_output=True, text=True).stdout

    def start(self, mode: str, *words: str) -> Daemon:
        argv = self.inside(sys.executable, "-m", "gproc", mode, f"--store={self.cluster.place}/store-{mode}", *words)
        daemon = Daemon(argv, self.cluster.env, Path("/"))
        self._daemons.append(daemon)
        return daemon

    def command(self, *words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            self.inside(sys.executable, "-m", "gproc", *words), env=self.cluster.env, capture_output=True, text=True,
            timeout=PATIENCE_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def begin_as_nobody(self, program: str) -> subprocess.Popen[bytes]:
        """Python as another user, until it has said that it is ready."""
        whole = program + "\nprint(flush=True)\nimport signal; signal.pause()"
        argv = self.inside(*as_nobody("/usr/bin/python3", "-I", "-c", whole))
        started = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert started.stdout is not None
        assert started.stdout.readline() == b"\n"
        return started

    def close(self) -> None:
        for daemon in reversed(self._daemons):
            if daemon.process.poll() is None:
                daemon.kill(signal.SIGTERM)
            assert daemon.wait() is not None
            assert "Traceback" not in daemon.log, daemon.log
        self._holder.kill()
        self._holder.communicate()


@pytest.fixture
def machine() -> Iterator[Machine]:
    for tool in ("unshare", "nsenter", "setpriv"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    if os.geteuid() != 0 or not os.path.exists("/usr/bin/python3"):
        pytest.skip("needs root, for a /tmp and a /run of its own, and /usr/bin/python3")
    with tempfile.TemporaryDirectory(prefix="gproc-test-", dir="/var/tmp") as made:
        Path(made).chmod(0o755)
        machine = Machine(Path(made))
        yield machine
        machine.close()


LISTEN: Final = "import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('/tmp/g')\ns.listen(1)\n"
SQUATS: Final = {
    "a socket with a listener": (LISTEN, f"{OWN} listens at /tmp/g"),
    "a listener that accepts nobody": (
        LISTEN + "ours = [socket.socket(socket.AF_UNIX) for _ in range(9)]\n"
        "for each in ours: each.setblocking(False); each.connect_ex('/tmp/g')\n",
        f"{OWN} listens at /tmp/g",
    ),
    "a file": ("open('/tmp/g', 'w')", f"/tmp/g belongs to {OWN} and is no socket"),
    "a directory": ("import os; os.mkdir('/tmp/g')", f"/tmp/g belongs to {OWN} and is no socket"),
    "a FIFO": ("import os; os.mkfifo('/tmp/g')", f"/tmp/g belongs to {OWN} and is no socket"),
    "a link": ("import os; os.symlink('/run/gproc/g', '/tmp/g')", f"/tmp/g belongs to {OWN} and is no socket"),
}


@pytest.mark.parametrize("what", SQUATS)
def test_roots_master_starts_and_is_found_even_if_a_user_has_taken_its_place(machine: Machine, what: str) -> None:
    program, said = SQUATS[what]
    squatter = machine.begin_as_nobody(program)
    try:
        master = machine.start("m", "-cmdport=0")
        master.says(rf"{said.replace('(', '.').replace(')', '.')}.*; commands find this master at /run/gproc/g")
        port = master.says(r"port (\d+), commands at /run/gproc/g$").group(1)
        slave = machine.start("s", f"--parent=127.0.0.1:{port}", "--id=1", "-cmdport=0")
        slave.says("this is node 1$")
        assert machine.command("e", "1", "/bin/echo", "found") == (0, "found\n", "")
        assert machine.command("i")[0] == 0
    finally:
        squatter.kill()
        squatter.communicate()


def test_roots_master_listens_at_both_places_and_leaves_neither_behind(machine: Machine) -> None:
    master = machine.start("m", "-cmdport=0")
    master.says(r"commands at /tmp/g and /run/gproc/g$")
    assert machine.command("i")[0] == 0
    machine.do("rm", "/tmp/g")
    assert machine.command("i")[0] == 0
    rival = machine.start("m", "-cmdport=0")
    rival.says("a master is already listening at /run/gproc/g")
    rival.kill(signal.SIGTERM)
    rival.wait()
    master.kill(signal.SIGINT)
    assert master.wait() == 0
    assert machine.do("ls", "/run/gproc") == ""
    status, _, said = machine.command("i")
    assert (status, said) == (125, "gproc: no master is listening at /tmp/g: start one with 'gproc m'\n")


def test_a_command_says_whose_socket_it_did_not_use(machine: Machine) -> None:
    squatter = machine.begin_as_nobody(SQUATS["a listener that accepts nobody"][0])
    try:
        status, _, said = machine.command("i")
        assert status == 125
        assert said.startswith(f"gproc: a squatted socket: /tmp/g belongs to {OWN}, neither to root nor to you")
    finally:
        squatter.kill()
        squatter.communicate()


@pytest.mark.parametrize(
    ("squat", "said"),
    [
        ("import os; os.mkdir('/tmp/xproc')", f"binRoot /tmp/xproc belongs to {OWN}"),
        ("import os; os.symlink('/root', '/tmp/xproc')", f"binRoot /tmp/xproc is a symbolic link of {OWN}"),
        ("open('/tmp/xproc', 'w')", f"binRoot /tmp/xproc is not a directory, and belongs to {OWN}"),
    ],
    ids=["a directory", "a link", "a file"],
)
@pytest.mark.parametrize("private", ["-p=true", pytest.param("-p=false", marks=pytest.mark.stress)])
def test_roots_slave_starts_even_if_a_user_has_taken_its_binroot(
    machine: Machine, squat: str, said: str, private: str
) -> None:
    machine.begin_as_nobody(squat).kill()
    master = machine.start("m", "-cmdport=0")
    port = master.says(r"port (\d+), commands").group(1)
    slave = machine.start("s", f"--parent=127.0.0.1:{port}", "--id=1", "-cmdport=0", private)
    slave.says(said.replace("(", ".").replace(")", ".") + ".*; jobs find their bundles at /run/gproc/xproc")
    slave.says("this is node 1$")
    assert machine.command("e", "1", "/bin/sh", "-c", "echo $GPROC_ROOT")[1].startswith("/run/gproc/xproc")


def test_a_taken_binroot_that_a_switch_names_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(GprocError, match="is not a directory, and belongs to "):
        claim_usual(os.fsencode(place), b"/tmp/xproc")


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, os.mkfifo])
def test_the_message_about_a_taken_socket_path_names_its_owner(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    place = tmp_path / "g"
    make(place)
    os.chown(place, NOBODY, NOBODY)
    with pytest.raises(Squatted, match="belongs to nobody"):
        clear_the_way(str(place))
    os.chown(place, 0, 0)
    with pytest.raises(GprocError, match="is there and is no socket"):
        clear_the_way(str(place))


def test_a_run_directory_that_others_may_change_is_not_used(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    place = tmp_path / "gproc"
    umask = os.umask(0o077)
    meeting.make_run_directory(str(place))
    os.umask(umask)
    assert place.stat().st_mode & 0o777 == 0o755
    meeting.make_run_directory(str(place))
    place.chmod(0o775)
    with pytest.raises(TrustError, match="only root may change"):
        meeting.make_run_directory(str(place))
    place.rmdir()
    place.symlink_to("/etc")
    with pytest.raises(TrustError, match="only root may change"):
        meeting.make_run_directory(str(place))


def test_a_command_with_a_socket_of_its_own_looks_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), meeting.dial(str(tmp_path / "none"))[0] as connection:
        assert isinstance(connection, socket.socket)
