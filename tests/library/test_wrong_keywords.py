"""Wrong keywords of the library are an error at the call: nothing is sent, and no other job suffers."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import gproc
from gproc.client.results import CompletedJob
from gproc.errors import NoMaster
from tests.system.cluster import Cluster


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"exclud": "1"}, "unexpected keyword argument 'exclud'; did you mean 'exclude'?"),
        ({"bogus": 1}, "unexpected keyword argument 'bogus'"),
        ({"capture_output": True}, "unexpected keyword argument 'capture_output': output is always captured"),
        ({"exclude": ["2"]}, "exclude must be a text, such as '1-80' or './.', not list"),
        ({"nice": "low"}, "nice: Expected `int | null`, got `str`"),
        ({"mem_bytes": "1G"}, "mem_bytes: Expected `int | null`, got `str`"),
        ({"umask": "022"}, "umask: Expected `int`, got `str`"),
        ({"timeout": "x"}, "timeout must be a number of seconds, not str"),
        ({"name": 5}, "name must be str, not int"),
        ({"input": 5}, "memoryview: a bytes-like object is required, not 'int'"),
    ],
    ids=str,
)
def test_a_keyword_of_the_wrong_kind_is_refused_at_once(cluster: gproc.Cluster, wrong: Any, said: str) -> None:
    """A misspelt one was taken without a word: a job ran on the nodes that were to be left out."""
    with pytest.raises(TypeError) as refused:
        cluster.run("1", ["/bin/true"], local_bin=True, **wrong)
    assert str(refused.value) == said


@pytest.mark.parametrize(
    "wrong",
    [
        {"nice": 50}, {"umask": -1}, {"umask": 0o7777}, {"cpus": 0}, {"mem_bytes": -5}, {"max_procs": 0},
        {"rlimits": {99: 1}}, {"timeout": float("nan")}, {"timeout": 1e300},
    ],
    ids=str,
)  # fmt: skip
def test_a_value_out_of_range_ends_no_other_job_of_the_connection(cluster: gproc.Cluster, wrong: Any) -> None:
    """The master ended the connection, and every job of the program with it."""
    with cluster.popen("2", ["/bin/cat"], local_bin=True, stdin=gproc.PIPE) as other:
        with pytest.raises(gproc.UsageError) as refused:
            cluster.run("1", ["/bin/true"], local_bin=True, **wrong)
        assert str(refused.value).startswith(next(iter(wrong)))
        done = other.communicate(b"fine\n")
    assert list(done.stdout.values()) == [b"fine\n"]


def test_a_time_that_is_over_already_is_no_time_and_an_infinite_one_no_limit(cluster: gproc.Cluster) -> None:
    with pytest.raises(gproc.TimeoutExpired):
        cluster.run("1", ["/bin/sleep", "1000"], local_bin=True, timeout=-1.5)
    assert cluster.run("1", ["/bin/true"], local_bin=True, timeout=float("inf")).returncode == 0


@pytest.mark.parametrize("name", ["A=B", ""])
def test_a_name_that_is_no_variable_is_refused_as_subprocess_does(cluster: gproc.Cluster, name: str) -> None:
    with pytest.raises(ValueError, match="illegal environment variable name"):
        cluster.run("1", ["/bin/true"], local_bin=True, env={name: "x"})


@pytest.mark.parametrize("wrong", [1, None, ["1", "2"]], ids=str)
def test_nodes_that_are_no_text_are_named(cluster: gproc.Cluster, wrong: Any) -> None:
    with pytest.raises(TypeError, match="nodes must be a text, such as"):
        cluster.run(wrong, ["/bin/true"], local_bin=True)


def test_one_path_is_no_list_of_letters(nodes: Cluster, tmp_path: Path) -> None:
    """`files="/data"` packed / and all below it, and then files called d, a and t."""
    (tmp_path / "data").write_text("mine\n")
    alone = gproc.pack("cat", files=[str(tmp_path / "data")])
    for one in (str(tmp_path / "data"), tmp_path / "data"):
        assert gproc.pack(Path("cat"), files=one, root=Path("/")).digest == alone.digest
        with gproc.connect(nodes.socket) as cluster:
            assert cluster.run("1", ["cat", one], files=one, words=False).stdout == {"1": b"mine\n"}
            assert cluster.cp(one, f"1:{tmp_path}/copy", check=True).returncode == 0
    of_one, of_list = (gproc.pack("cat", library_path=each) for each in (str(tmp_path), [tmp_path]))
    assert of_one.digest == of_list.digest


def test_values_that_are_no_words_are_named(cluster: gproc.Cluster) -> None:
    wrong: Any = [None]
    with pytest.raises(TypeError, match="a value is a text, a path, a number, or a sequence of these, not None"):
        list(cluster.map("1", ["/bin/true"], wrong, local_bin=True))
    with cluster.executor("1", ["/bin/echo", "alone"], local_bin=True) as pool:
        assert pool.submit().result().stdout == b"alone\n"
        assert [result.stdout for result in pool.map("a", range(2))] == [b"alone a 0\n", b"alone a 1\n"]
        with pytest.raises(TypeError, match=r"Cluster\.map takes values alone"):
            pool.map("abc")


def test_the_asyncio_twin_refuses_the_same(nodes: Cluster) -> None:
    async def run() -> None:
        async with gproc.connect_async(str(nodes.socket)) as twin:
            misspelt: Any = {"exclud": "1"}
            with pytest.raises(TypeError, match="exclud"):
                await twin.run("1", ["/bin/true"], local_bin=True, **misspelt)
            with pytest.raises(gproc.UsageError, match="nice"):
                await twin.run("1", ["/bin/true"], local_bin=True, nice=50)
            assert (await twin.run("1", ["/bin/true"], local_bin=True)).returncode == 0

    asyncio.run(run())


def test_the_errors_of_the_library_can_be_pickled() -> None:
    """multiprocessing.Pool hung, because the thread that takes results had died by one."""
    result = CompletedJob[bytes](
        args=("x",), nodes=("1",), stdout={"1": b"a"}, stderr={"1": b""}, outcomes={"1": gproc.Returned(3)}, missing="",
        returncode=3, summary=("1: exit status 3",),
    )  # fmt: skip
    for error in (gproc.JobFailed(result), gproc.TimeoutExpired(2.0, result), NoMaster("/g", "none")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)


def fails() -> None:
    gproc.connect("/nonexistent")


def test_a_process_of_a_pool_hands_its_error_on() -> None:
    with ProcessPoolExecutor(1) as pool, pytest.raises(NoMaster, match="/nonexistent"):
        pool.submit(fails).result()


def test_a_connection_that_nobody_closes_leaves_no_descriptor(nodes: Cluster) -> None:
    """A program that connects again whenever its master is gone had one more each time."""
    before = len(os.listdir("/proc/self/fd"))
    gc.freeze()  # a worker that has run many tests takes half a second to look at all that it has
    for _ in range(20):
        gproc.connect(str(nodes.socket)).run("1", ["/bin/true"], local_bin=True)
        gc.collect()
    gc.unfreeze()
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_nothing_to_copy_is_said(cluster: gproc.Cluster) -> None:
    with pytest.raises(gproc.UsageError, match="nothing to copy"):
        cluster.cp([], "1:/tmp/x")
