"""`import gproc`: jobs, copies and the tree for programs, on a real cluster."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import gproc
from gproc.client.requests import current_umask
from tests.library.machines import cluster, machines
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster as Machines

__all__ = ["cluster", "machines"]


def test_output_and_outcome_come_back_by_node(cluster: gproc.Cluster) -> None:
    done = cluster.run("./.", ["/bin/sh", "-c", 'echo "$GPROC_NODE"; echo no >&2; exit "$GPROC_RANK"'])
    assert done.nodes == ("1", "1/2", "3")
    assert done.stdout == {"1": b"1\n", "1/2": b"1/2\n", "3": b"3\n"}
    assert set(done.stderr.values()) == {b"no\n"}
    assert done.outcomes == {"1": gproc.Returned(0), "1/2": gproc.Returned(1), "3": gproc.Returned(2)}
    assert done.returncode == 2


def test_input_goes_to_every_node_and_text_is_decoded(cluster: gproc.Cluster) -> None:
    done = cluster.run("=1/.,3", ["sort"], input="b\nä\na\n", text=True, env={"LC_ALL": "C"}, timeout=PATIENCE_S)
    assert done.stdout == {"1/2": "a\nb\nä\n", "3": "a\nb\nä\n"}
    with pytest.raises(TypeError):
        cluster.run("3", ["cat"], input="text")


def test_encoding_or_errors_alone_gave_bytes(machines: Machines, cluster: gproc.Cluster) -> None:
    assert cluster.run("3", ["cat"], input="ä", encoding="latin-1").stdout == {"3": "ä"}
    assert cluster.run("3", ["printf", r"\344"], errors="replace").stdout == {"3": "\ufffd"}
    assert cluster.run("3", ["printf", r"\344"], text=False, encoding="latin-1").stdout == {"3": "ä"}
    assert cluster.run("3", ["printf", "x"], encoding=None, errors=None).stdout == {"3": b"x"}
    with pytest.raises(TypeError):
        cluster.run("3", ["cat"], input=b"text", encoding="utf-8")
    with pytest.raises(LookupError, match="nonesuch"):
        cluster.run("3", ["touch", "/nowhere"], encoding="nonesuch")
    async def later() -> str:
        async with gproc.connect_async(str(machines.socket)) as other:
            return (await other.run("3", ["cat"], input="ä", encoding="latin-1")).stdout["3"]

    assert asyncio.run(later()) == "ä"


def test_a_megabyte_goes_through_a_program_that_writes_while_it_reads(cluster: gproc.Cluster) -> None:
    data = os.urandom(3 << 20)
    done = cluster.run("1-3", ["cat"], input=data)
    assert set(done.stdout.values()) == {data}


def test_check_raises_what_failed_and_where(cluster: gproc.Cluster) -> None:
    with pytest.raises(gproc.JobFailed, match=r"3: exit status 4") as raised:
        cluster.run("1,3", ["/bin/sh", "-c", '[ "$GPROC_NODE" = 1 ] || exit 4'], check=True)
    assert raised.value.returncode == 4
    assert raised.value.outcomes["3"] == gproc.Returned(4)


def test_a_node_that_is_missing_is_said(cluster: gproc.Cluster) -> None:
    done = cluster.run("1,7", ["true"])
    assert (done.missing, done.returncode, done.outcomes) == ("7", 125, {"1": gproc.Returned(0)})
    with pytest.raises(gproc.JobRejected, match="not connected: 9"):
        cluster.run("9", ["true"])
    with pytest.raises(gproc.SpecError):
        cluster.run("1-", ["true"])


def test_a_program_that_is_not_there_is_an_error_before_anything_runs(cluster: gproc.Cluster) -> None:
    with pytest.raises(gproc.ProgramNotFound):
        cluster.run(".", ["no-such-program"])


def test_a_time_limit_ends_the_job_and_says_what_it_had_said(cluster: gproc.Cluster) -> None:
    with pytest.raises(gproc.TimeoutExpired) as raised:
        cluster.run("1,3", ["/bin/sh", "-c", "echo here; exec sleep 1000"], timeout=0.5)
    assert raised.value.result is not None
    assert raised.value.result.stdout["3"] == b"here\n"
    assert isinstance(raised.value.result.outcomes["1"], gproc.TimedOut)
    assert raised.value.result.returncode == 124


def test_no_master_is_an_error_that_names_the_socket(tmp_path: Path) -> None:
    with pytest.raises(gproc.NoMaster) as raised:
        gproc.connect(str(tmp_path / "none"))
    assert raised.value.path == str(tmp_path / "none")


def test_files_are_copied_there_and_back(cluster: gproc.Cluster, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    there = tmp_path / "there"
    there.mkdir()
    assert cluster.cp(str(tmp_path / "a"), f"1,3:{there}/").returncode == 0
    assert (there / "a").read_bytes() == b"content"
    assert cluster.get(f"=1/2,3:{there}/a", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back" / "1.2" / "a").read_bytes() == b"content"
    with pytest.raises(gproc.CopyFailed, match="No such file"):
        cluster.get(f"3:{there}/none", str(tmp_path / "back"))
    assert cluster.cp([str(tmp_path / "none")], f"3:{there}/", check=False).returncode == 1


def test_the_tree_is_told(cluster: gproc.Cluster) -> None:
    info = cluster.info()
    assert [(node.node, node.host, node.state) for node in info.nodes] == [
        (place, socket.gethostname(), "up") for place in ("1", "1/2", "3")
    ]


def test_a_bundle_is_packed_once_for_many_jobs(cluster: gproc.Cluster, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    extra.write_text("beside")
    bundle = cluster.bundle("sh", files=[str(extra)])
    for _ in range(3):
        done = cluster.run("3", ["sh", "-c", 'cat "$GPROC_ROOT$0"', str(extra)], bundle=bundle)
        assert done.stdout["3"] == b"beside"
    assert bundle.digest == gproc.pack("sh", files=[str(extra)]).digest


def test_a_program_has_the_soft_limits_that_its_caller_chose(cluster: gproc.Cluster) -> None:
    limits = {resource.RLIMIT_CPU: 77, resource.RLIMIT_NOFILE: 99}
    done = cluster.run("3", "ulimit -t; ulimit -n", shell=True, text=True, rlimits=limits)
    assert done.stdout["3"] == "77\n99\n"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000, 0o027])
def test_the_umask_is_read_without_a_moment_in_which_other_threads_have_another(
    mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patched:
            patched.delattr(os, "umask")
            assert current_umask() == mask
    finally:
        os.umask(before)


def test_every_public_name_is_there_and_a_slave_pays_for_none() -> None:
    assert all(hasattr(gproc, name) for name in gproc.__all__)
    assert set(gproc.__all__) == {name for names in gproc._MODULES.values() for name in names}
    program = "import sys, gproc; print(sorted(name for name in sys.modules if name.startswith('gproc')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['gproc']\n"
