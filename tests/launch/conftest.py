"""Nodes for tests: a slave in miniature in its own process, in each of the three ways a node can be."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

import gproc
from gproc.launch.native import why_not_native
from gproc.launch.protocol import JobEnd, ProgramEnded, SpawnFailed
from gproc.native.build import NotBuilt, build, compile_by
from gproc.root.abilities import Abilities
from gproc.root.view import MakeDirectory, Proc, Tmpfs, View

USER = 64_320
"""Not 65534: in a user namespace that also stands for every user who is not mapped."""

ENV = ("PATH=/usr/bin:/bin",)


class Done(msgspec.Struct, frozen=True):
    """How one job ended, and what it said."""

    outcome: JobEnd
    output: str

    @property
    def code(self) -> int:
        assert isinstance(self.outcome, ProgramEnded), self.outcome
        assert self.outcome.signal == 0, self.outcome
        return self.outcome.code

    @property
    def signal(self) -> int:
        assert isinstance(self.outcome, ProgramEnded), self.outcome
        return self.outcome.signal

    @property
    def failure(self) -> SpawnFailed:
        assert isinstance(self.outcome, SpawnFailed), self.outcome
        return self.outcome


class Node:
    """A running driver; `uid` is its user's."""

    def __init__(self, kind: str, uid: int, bin_root: Path, init: str) -> None:
        self.kind = kind
        self.init = init
        self.uid = uid
        self.bin_root = os.fsencode(bin_root)
        os.chown(bin_root, uid, -1)
        source = str(Path(gproc.__file__).parents[1])
        driver = Path(__file__).with_name("driver.py")
        self.process = subprocess.Popen(
            [sys.executable, "-B", str(driver), kind, str(uid), init, str(bin_root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": source, "PATH": "/usr/bin:/bin"},
            cwd="/",
        )
        self.abilities = msgspec.json.decode(self._line(), type=Abilities)
        self.owes = 0
        """Answers that no test has waited for."""
        self.is_spoilt = False
        """No other test wants it."""

    def view(self, program: str, cwd: str = "/") -> View:
        """The node as it is, with an empty binRoot."""
        name = os.fsencode(program)
        if self.kind == "plain":
            return View("plain", (), name, os.fsencode(cwd))
        mounts = (Tmpfs(self.bin_root), MakeDirectory(self.bin_root, b"/there"), Proc(b"/proc"))
        return View("namespaces", mounts, name, os.fsencode(cwd))

    def order(
        self,
        argv: Sequence[str],
        *,
        view: View | None = None,
        cwd: str = "/",
        env: Sequence[str] = ENV,
        uid: int | None = None,
        gid: int | None = None,
        groups: Sequence[int] = (),
        umask: int = 0o022,
        limits: dict[str, int] | None = None,
        signals: Sequence[int] = (),
        collect: Sequence[str] = (),
    ) -> dict[str, Any]:
        uid = self.uid if uid is None else uid
        return {
            "argv": list(argv),
            "env": list(env),
            "view": msgspec.json.encode(view or self.view(argv[0], cwd)).decode(),
            "uid": uid,
            "gid": uid if gid is None else gid,
            "groups": list(groups),
            "umask": umask,
            "limits": limits or {},
            "signals": list(signals),
            "collect": list(collect),
        }

    def run(self, *argv: str, **options: Any) -> Done:
        """Run one job to its end.  signals: each is sent when the job has written one more line."""
        return self.run_all([self.order(argv, **options)])[0]

    def run_all(self, orders: Sequence[dict[str, Any]]) -> list[Done]:
        """Run jobs at the same time."""
        self.send(orders)
        return self.receive()

    def send(self, orders: Sequence[dict[str, Any]]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(list(orders)).encode() + b"\n")
        self.process.stdin.flush()
        self.owes += 1

    def receive(self) -> list[Done]:
        answers = json.loads(self._line())
        self.owes -= 1
        return [
            Done(msgspec.json.decode(answer["outcome"], type=ProgramEnded | SpawnFailed), answer["output"])
            for answer in answers
        ]

    def launcher_pids(self) -> list[int]:
        """The launcher, if it is a process; its parent may be gone, its arguments are the driver's own."""
        mine = Path(f"/proc/{self.process.pid}/cmdline").read_bytes()
        found = []
        for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
            try:
                if Path(f"/proc/{pid}/cmdline").read_bytes() == mine and pid != self.process.pid:
                    found.append(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
        # Inits come after it.
        assert bool(found) == (self.init == "python")
        return found[:1]

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


class Nodes:
    """Nodes that run for the tests of a module, one of each kind; as a slave's, their jobs come one after another."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, int, str], tuple[Node, tempfile.TemporaryDirectory[str]]] = {}

    def get(self, kind: str, uid: int, init: str) -> Node:
        if (kind, uid, init) not in self._running:
            place = tempfile.TemporaryDirectory(prefix="gproc-test-")
            Path(place.name).chmod(0o755)
            bin_root = Path(place.name, "bin_root")
            bin_root.mkdir(mode=0o755)
            self._running[kind, uid, init] = Node(kind, uid, bin_root, init), place
        return self._running[kind, uid, init][0]

    def end(self, node: Node) -> None:
        """The next test has another one."""
        if running := self._running.pop((node.kind, node.uid, node.init), None):
            node.close()
            running[1].cleanup()

    def end_all(self) -> None:
        for node, _ in list(self._running.values()):
            self.end(node)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that other users can reach: pytest's own is closed to them, again and again."""
    with tempfile.TemporaryDirectory(prefix="gproc-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def bin_root(tmp_path: Path) -> Path:
    path = tmp_path / "bin_root"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture(scope="session")
def sanitized() -> Iterator[Path]:
    """The static helper with AddressSanitizer and UBSan, which end it at the first fault, where every user finds it."""
    with tempfile.TemporaryDirectory(prefix="gproc-test-") as made:
        Path(made).chmod(0o755)
        try:
            build(Path(made, "helper"), sanitize=True)
        except NotBuilt as error:
            pytest.skip(f"needs a C compiler with sanitizers: {error}")
        yield Path(made, "helper")


@pytest.fixture(scope="session")
def by_clang() -> Iterator[Path]:
    """The static helper by the other compiler: what one gets right is no word about the other."""
    if (clang := shutil.which("clang")) is None:
        pytest.skip("needs clang")
    with tempfile.TemporaryDirectory(prefix="gproc-test-") as made:
        Path(made).chmod(0o755)
        compile_by([clang], Path(made, "helper"), strict=True)
        yield Path(made, "helper")


@pytest.fixture(params=["native", "python", pytest.param("sanitized", marks=pytest.mark.stress)])
def init(request: pytest.FixtureRequest) -> str:
    """What starts jobs: the static helper, or a launcher process in Python."""
    if request.param == "sanitized":
        return str(request.getfixturevalue("sanitized"))
    if request.param == "native" and (reason := why_not_native()):
        pytest.skip(f"needs the static helper: {reason}")
    return str(request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there is the static helper, Python starts no jobs: all but root's are looked at only by `make stress`."""
    for item in items:
        if item.path.parent == Path(__file__).parent and re.search(r"\[(?!root-)[a-z ]+-python", item.name):
            item.add_marker(pytest.mark.stress)


@pytest.fixture(params=["root", "user"])
def empty_node(request: pytest.FixtureRequest, bin_root: Path, init: str) -> Iterator[Node]:
    """A node whose /usr is empty, as on a ramdisk."""
    if os.getuid() != 0:
        pytest.skip("needs root, to hide /usr")
    if os.path.isabs(init):
        pytest.skip("sanitizers need libraries in /usr")
    node = Node("empty", USER if request.param == "user" else 0, bin_root, init)
    try:
        if not node.abilities.overlay:
            pytest.skip(f"needs namespaces and overlays: {node.abilities.reason}")
        yield node
    finally:
        node.close()


@contextlib.contextmanager
def running_nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    yield nodes
    nodes.end_all()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with running_nodes() as nodes:
        yield nodes


@pytest.fixture(params=["root", "user", "plain", pytest.param("plain user", marks=pytest.mark.stress)])
def node(request: pytest.FixtureRequest, init: str, nodes: Nodes) -> Iterator[Node]:
    """Namespaces as root and in a user namespace, no namespaces as root and as a user."""
    kind = "plain" if request.param.startswith("plain") else "private"
    uid = USER if request.param.endswith("user") and os.getuid() == 0 else os.getuid()
    if request.param in ("root", "plain") and os.getuid() != 0:
        pytest.skip("needs root")
    node = nodes.get(kind, uid, init)
    if kind == "private" and not node.abilities.view:
        pytest.skip(f"needs namespaces: {node.abilities.reason}")
    yield node
    left = [] if node.is_spoilt else os.listdir(node.bin_root)
    if node.is_spoilt or node.owes or left or node.process.poll() is not None:
        nodes.end(node)
    assert not left


@pytest.fixture
def own_node(node: Node) -> Node:
    """One that no other test has afterwards, so that this one may kill it or leave something there."""
    node.is_spoilt = True
    return node
