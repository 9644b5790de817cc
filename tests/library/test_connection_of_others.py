"""A connection that belongs to another process or event loop: a forked one (os.fork, multiprocessing), another loop."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable

import pytest

import gproc
from tests.system.cluster import Cluster


def in_child(work: Callable[[], object]) -> str:
    """What `work` raises in a forked process, as a text; "" if nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the parent is told
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as said:
        text = said.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.parametrize(
    "use",
    [
        lambda cluster, job: cluster.run("1", ["echo", "child"]),
        lambda cluster, job: cluster.jobs(),
        lambda cluster, job: job.communicate(),
        lambda cluster, job: job.kill(),
    ],
    ids=["run", "jobs", "communicate", "kill"],
)
def test_a_forked_process_is_told_to_connect_itself_and_harms_nobody(
    cluster: gproc.Cluster, use: Callable[[gproc.Cluster, gproc.Job], object]
) -> None:
    """Both spoke on one socket: the child had its answer, and the parent `not a gproc peer`."""
    job = cluster.popen("1-2", ["cat"], stdin=gproc.PIPE)
    said = in_child(lambda: use(cluster, job))
    assert said == f"UsageError: process {os.getpid()}, which forked this one, has this connection: connect here again"
    assert job.communicate(b"parent").stdout == {"1": b"parent", "2": b"parent"}


def test_what_a_forked_process_closes_or_forgets_goes_on_in_its_parent(cluster: gproc.Cluster) -> None:
    """Its garbage collector ended the parent's tasks."""
    job = cluster.popen("1", ["cat"], stdin=gproc.PIPE)
    results = [cluster.map("1", ["/bin/echo"], range(3), per_node=1)]
    assert next(results[0]).stdout == b"0\n"

    def forget() -> None:
        results.clear()
        gc.collect()
        cluster.close()

    assert in_child(forget) == ""
    assert [result.stdout for result in results[0]] == [b"1\n", b"2\n"]
    assert job.communicate(b"parent").stdout == {"1": b"parent"}


def test_a_forked_process_harms_no_connection_of_its_parents_loop(nodes: Cluster) -> None:
    """The list of descriptors that epoll(7) watches is one for both: the parent heard nothing more."""

    async def main() -> None:
        async with gproc.connect_async(str(nodes.socket)) as cluster:
            job = await cluster.popen("1", ["cat"], stdin=gproc.PIPE)
            assert "connect here again" in in_child(job.kill)
            assert in_child(cluster.close) == ""
            assert (await job.communicate(b"parent")).stdout == {"1": b"parent"}

    asyncio.run(main())


def test_a_connection_of_another_loop_says_so_and_can_be_closed(nodes: Cluster) -> None:
    """A second asyncio.run waited for ever."""

    async def connected() -> gproc.AsyncCluster:
        return await gproc.connect_async(str(nodes.socket))

    cluster = asyncio.run(connected())
    with pytest.raises(gproc.UsageError, match="another event loop has this connection"):
        asyncio.run(cluster.run("1", ["/bin/true"], local_bin=True))
    cluster.close()
    assert cluster.closed


def test_what_was_not_connected_says_so(nodes: Cluster) -> None:
    async def main() -> None:
        cluster = gproc.connect_async(str(nodes.socket))
        with pytest.raises(gproc.UsageError, match="is not connected yet"):
            await cluster.info()
        cluster.close()
        await cluster
        assert (await cluster.run("1", ["/bin/true"], local_bin=True)).returncode == 0
        cluster.close()

    asyncio.run(main())
