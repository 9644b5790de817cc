"""`-cmdport` is a slave's own port.  `gproc s --cmd-port 0 --parent kn20` dialled port 0 of kn20."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from gproc.locales import DEFAULT_PORT, Options, Role, load
from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster, Slave


def dialled_by(tmp_path: Path, *switches: str) -> str:
    """HOST:PORT of the parent that a slave with these switches dials."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()  # which makes the keys
    own = (f"--store={tmp_path}/store", f"-binRoot={tmp_path}/x", "-debug=1")
    slave = Slave([*gproc_as(None), "s", *switches, *own], cluster.env, cluster.work)
    found = slave.says(r"locale \S+: .*, parent (\S+)").group(1)
    slave.kill(signal.SIGTERM)
    slave.wait()
    cluster.stop()
    return found


@pytest.mark.parametrize("port", ["0", "7123"])
def test_a_parent_without_a_port_is_dialled_at_the_usual_one(port: str, tmp_path: Path) -> None:
    assert dialled_by(tmp_path, "--cmd-port", port, "--parent", "127.0.0.9") == f"127.0.0.9:{DEFAULT_PORT}"


def test_without_a_parent_too(tmp_path: Path) -> None:
    assert dialled_by(tmp_path, "--cmd-port", "0") == f"127.0.0.1:{DEFAULT_PORT}"


def test_a_parent_with_a_port_is_dialled_there(tmp_path: Path) -> None:
    assert dialled_by(tmp_path, "--cmd-port", "0", "--parent", "127.0.0.9:7001") == "127.0.0.9:7001"


def test_in_a_locale_any_free_port_means_the_usual_one_of_the_parent(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(f'master = "front"\nnodes = ["{socket.gethostname()}"]\n[addresses]\nfront = "127.0.0.9"\n')
    assert dialled_by(tmp_path, "--cmd-port", "0", f"-locale={path}") == f"127.0.0.9:{DEFAULT_PORT}"


@pytest.mark.parametrize("locale", ["kane", "kf"])
def test_a_cluster_that_has_moved_to_another_port_dials_that_one(locale: str) -> None:
    parent = load(locale).place(Role.SLAVE, "kn7", Options(cmd_port=7000)).parent
    assert parent is not None
    assert parent.port == 7000
