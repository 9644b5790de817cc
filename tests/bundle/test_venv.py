"""`--venv`: a Python environment goes along as a whole, and is active."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gproc
from gproc.bundle.venv import environment_at
from gproc.errors import UsageError
from gproc.packager import Bundle, PackRequest, pack
from tests.system.cluster import Cluster

TOOL = """#!{python}
import os, sys, tool
print(tool.NAME, os.environ["VIRTUAL_ENV"] == sys.prefix, sys.argv[1:])
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with a package, its data, and a command."""
    place = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "v")], check=True)
    [site] = (place / "v/lib").glob("python*/site-packages")
    (site / "tool.py").write_text("NAME = 'my tool'\n")
    (place / "v/share").mkdir()
    (place / "v/share/data").write_text("data\n")
    command = place / "v/bin/run-tool"
    command.write_text(TOOL.format(python=place / "v/bin/python"))
    command.chmod(0o755)
    return place


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("node") / "c")
    cluster.start_master()
    cluster.slave(1)
    yield cluster
    cluster.stop()


def packed(made: Path, *command: str) -> Bundle:
    request = PackRequest(
        program=command[0], command=command, cwd=str(made), environ=os.environ, venv="v", cache_dir=str(made / "cache")
    )
    return pack(request)


def test_an_environment_goes_along_as_a_whole_with_its_python(made: Path) -> None:
    paths = {os.fsdecode(file.path) for file in packed(made, "run-tool").manifest.files()}
    assert {f"{made}/v/bin/run-tool", f"{made}/v/share/data", f"{made}/v/pyvenv.cfg"} <= paths
    assert any(path.endswith("/os.py") for path in paths), "the standard library of the Python that made it"
    again = {os.fsdecode(file.path) for file in packed(made, "sh", "-c", "true").manifest.files()}
    assert f"{made}/v/share/data" in again, "whatever program runs"


def test_a_virtual_environment_is_active_on_a_node(made: Path, node: Cluster) -> None:
    done = node.exec("--venv", "v", "1", "run-tool", "a b", cwd=made)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"my tool True ['a b']\n", b"")
    line = 'run-tool; cat "$VIRTUAL_ENV/share/data"; command -v python'
    done = node.exec("--venv", "v", "1", "sh", "-c", line, cwd=made)
    assert done.stdout.decode().splitlines() == ["my tool True []", "data", f"{made}/v/bin/python"]
    done = node.exec("--venv", "v", "--env", "VIRTUAL_ENV=x", "1", "sh", "-c", "echo $VIRTUAL_ENV", cwd=made)
    assert done.stdout == b"x\n", "what is asked for by name holds"


def test_it_is_active_for_each_task_of_a_list(made: Path, node: Cluster) -> None:
    done = node.command("map", "-k", "--venv", "v", "1", "run-tool", cwd=made, input=b"a\nb c\n")
    assert done.stdout.decode().splitlines() == ["my tool True ['a']", "my tool True ['b c']"]


def test_the_library_takes_one_too(made: Path, node: Cluster) -> None:
    with gproc.connect(str(node.socket)) as cluster:
        done = cluster.run("1", ["run-tool"], venv=made / "v", cwd=made, text=True, check=True)
    assert done.stdout == {"1": "my tool True []\n"}


def test_an_environment_of_conda_is_known_by_its_records(tmp_path: Path) -> None:
    (tmp_path / "c/conda-meta").mkdir(parents=True)
    found = environment_at("c", str(tmp_path))
    assert found.python == ""
    assert found.of({"PATH": "/bin", "PYTHONHOME": "/x"}) == {
        "CONDA_PREFIX": f"{tmp_path}/c", "CONDA_DEFAULT_ENV": f"{tmp_path}/c", "PATH": f"{tmp_path}/c/bin:/bin"
    }  # fmt: skip


def test_what_is_no_environment_is_refused(made: Path, node: Cluster) -> None:
    with pytest.raises(UsageError, match="--venv share: is neither"):
        environment_at("share", str(made / "v"))
    for words in (("--venv", "v/share", "1", "x"), ("--venv", "v", "-r", "/", "-localbin", "1", "x")):
        done = node.exec(*words, cwd=made)
        assert (done.returncode, done.stdout) == (2, b""), done.stderr
