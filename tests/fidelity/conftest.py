"""A real master and slaves, on which programs of real users run."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from gproc.trust.authority import open_authority, provision
from tests.system.cluster import Cluster

USER: Final = 64_320
"""Not 65534, which in a user namespace also stands for every unmapped user."""

Done = subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that other users can enter, which they cannot with pytest's own."""
    with tempfile.TemporaryDirectory(prefix="gproc-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def cluster(place: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A master without slaves.  The test's mark `master` has its switches."""
    mark = request.node.get_closest_marker("master")
    cluster = Cluster(Path(tempfile.mkdtemp(dir=place)) / "c")
    cluster.start_master(*(() if mark is None else mark.args))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def pair(place: Path) -> Iterator[Cluster]:
    """Node 1 with views and node 2 without (plain), for tests that do not change them."""
    cluster = Cluster(Path(tempfile.mkdtemp(dir=place)) / "c")
    cluster.start_master()
    cluster.slave(1)
    cluster.slave(2, "-p=false")
    if cluster.states()["1"] == "plain":
        cluster.stop()
        pytest.skip("needs namespaces, which this machine does not allow")
    yield cluster
    cluster.stop()


@pytest.fixture
def root_only() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for slaves that become other users and for other users' commands")


class Site:
    """A node and the user who runs programs there: root's own, a user's, or one without views.

    plain: the node has no views.
    """

    def __init__(self, cluster: Cluster, uid: int, *, plain: bool) -> None:
        self.cluster = cluster
        self.uid = uid
        self.plain = plain
        self.slave = cluster.slaves[0]

    @property
    def slave_is_root(self) -> bool:
        return self.uid == 0

    @property
    def root(self) -> str:
        """The directory of the jobs' bundle; on a plain node, each job has a directory of its own in it."""
        return str(self.slave.bin_root)

    def run(self, *words: str, env: Mapping[str, str] | None = None, **options: Any) -> Done:
        """Run `gproc e` as that user."""
        own = self.cluster.place / "caches"
        options = {"uid": self.uid or None, **options}
        return self.cluster.exec(*words, env={"XDG_CACHE_HOME": str(own), **(env or {})}, **options)


RARE: Final = [pytest.param(kind, marks=pytest.mark.stress) for kind in ("plain user", "root by Python")]
"""Kinds of nodes that only `make stress` has."""


@pytest.fixture(scope="module", params=["root", "user", "plain", *RARE])
def site(request: pytest.FixtureRequest, place: Path) -> Iterator[Site]:
    """Node 1 in each kind of node, with the commands of its user."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become other users")
    uid = USER if request.param.endswith("user") else 0
    cluster = Cluster(Path(tempfile.mkdtemp(dir=place)) / "c")
    if request.param.endswith("by Python"):
        cluster.env["GPROC_INIT"] = "python"
    cluster.start_master()
    (cluster.place / "caches").mkdir()
    (cluster.place / "caches").chmod(0o777)
    plain = request.param.startswith("plain")
    cluster.slave(1, *(("-p=false",) if plain else ()), uid=uid or None, home=keys_for(cluster, uid))
    if not plain and (reason := cluster.info()["nodes"][0]["plain_because"]):
        cluster.stop()
        pytest.skip(f"needs namespaces: {reason}")
    yield Site(cluster, uid, plain=plain)
    cluster.stop()


def keys_for(cluster: Cluster, uid: int) -> Path:
    """A GPROC_HOME with a node's keys that this user can read."""
    if uid == 0:
        return cluster.home
    home = Path(tempfile.mkdtemp(dir=cluster.place))
    provision(open_authority(str(cluster.home), create=False), socket.gethostname(), [], str(home / "n"))
    for path in (home, *home.rglob("*")):
        os.chown(path, uid, uid)
    return home / "n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a program finds around it comes neither from a view nor from its user: `make stress` looks at all nodes."""
    for item in items:
        if item.path.name == "test_surroundings.py" and re.search(r"\[(plain|user)[]-]", item.name):
            item.add_marker(pytest.mark.stress)
