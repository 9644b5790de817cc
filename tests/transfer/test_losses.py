"""A failure in mid-transfer costs only the node that it happened to."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from gproc.content.manifest import CHUNK_BYTES, digest_of
from gproc.trust.identity import load_identity
from tests.system.cluster import Cluster, Slave
from tests.transfer.fake_peer import FakePeer, junk
from tests.transfer.payload import MIB, Payload
from tests.transfer.wiretap import Wiretap

MakePayload = Callable[[int], Payload]
Start = Callable[[int], list[Slave]]
RATE = 12 * MIB


def arrived(stdout: str, payload: Payload, slaves: list[Slave]) -> None:
    """Check that the payload is complete on these nodes, and that no other node printed anything."""
    said = {line.rpartition(" ")[2]: line for line in stdout.splitlines()}
    assert set(said) == {f"{slave.bin_root}{payload.path}" for slave in slaves}
    assert all(line.startswith(payload.sum) for line in said.values())


def halfway(cluster: Cluster, tap: Wiretap, payload: Payload, nodes: str = ".") -> Popen[bytes]:
    """A job whose transfer is half done."""
    tap.rate = RATE
    before = tap.down
    job = cluster.begin("e", *payload.words(nodes))
    tap.passed(before + payload.size_bytes // 2)
    return job


@pytest.mark.parametrize(
    "victim", [pytest.param(0, marks=pytest.mark.stress), 1, pytest.param(4, marks=pytest.mark.stress)]
)
def test_a_node_that_is_killed_in_mid_transfer_is_named_and_the_others_finish(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload, victim: int
) -> None:
    """Of five nodes, 1 and 2 send the even chunks to others, 4 and 5 the odd ones."""
    slaves = tapped(5)
    payload = make_payload(16)
    job = halfway(cluster, tap, payload)
    slaves[victim].kill(signal.SIGKILL)
    slaves[victim].wait()
    tap.rate = 0
    status, stdout, stderr = cluster.finish(job)
    cluster.forget(slaves[victim])
    assert status == 125
    assert f"gproc: {victim + 1}: lost" in stderr
    arrived(stdout, payload, [slave for slave in slaves if slave is not slaves[victim]])


@pytest.mark.stress
def test_a_node_that_freezes_in_mid_transfer_is_named_and_the_others_finish(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload
) -> None:
    slaves = tapped(4)
    payload = make_payload(16)
    job = halfway(cluster, tap, payload)
    slaves[0].kill(signal.SIGSTOP)
    tap.rate = 0
    status, stdout, stderr = cluster.finish(job)
    slaves[0].kill(signal.SIGCONT)
    assert status == 125
    assert "gproc: 1: lost" in stderr
    arrived(stdout, payload, slaves[1:])
    cluster.master.says(r" 1 \(\S+\) is reached from here")


def test_nodes_below_a_rack_master_that_is_killed_get_the_payload_from_above_it(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload
) -> None:
    rack, other = tapped(2)
    below = [cluster.slave(number, parent=rack) for number in (1, 2)]
    payload = make_payload(12)
    job = halfway(cluster, tap, payload, "./.")
    rack.kill(signal.SIGKILL)
    rack.wait()
    tap.rate = 0
    status, stdout, stderr = cluster.finish(job)
    cluster.forget(rack)
    assert status == 125
    assert "gproc: 1: lost" in stderr
    arrived(stdout, payload, [other, *below])


@pytest.mark.stress
def test_a_node_that_comes_back_is_sent_only_what_it_lacks(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload
) -> None:
    (slave,) = tapped(1)
    payload = make_payload(12)
    job = halfway(cluster, tap, payload)
    cluster.end(slave, signal.SIGKILL)
    assert cluster.finish(job)[0] == 125
    tap.rate = 0
    again = cluster.launch_slave("--id=1", f"--store={cluster.place}/s1/store", parent=tap.port)
    cluster.joined(again, cluster.master, cluster.master.log.count("\n") - 1)
    before = tap.down
    done = cluster.exec(*payload.words("1"))
    assert done.returncode == 0
    arrived(done.stdout.decode(), payload, [again])
    assert tap.down - before < payload.size_bytes * 5 // 6


def test_after_a_cut_link_the_slave_dials_again_and_the_transfer_resumes(
    cluster: Cluster, tap: Wiretap, tapped: Start, make_payload: MakePayload
) -> None:
    (slave,) = tapped(1)
    payload = make_payload(12)
    job = halfway(cluster, tap, payload)
    before = tap.down
    tap.cut()
    tap.rate = 0
    status, stdout, stderr = cluster.finish(job)
    assert (status, stderr) == (0, "")
    cluster.master.says(r" 1 \(\S+\) is reached from here")
    arrived(stdout, payload, [slave])
    assert tap.down - before < payload.size_bytes * 5 // 6


@pytest.fixture(
    params=["short", "flipped", *(pytest.param(lie, marks=pytest.mark.stress) for lie in ("junk", "too long"))]
)
def liar(
    request: pytest.FixtureRequest, cluster: Cluster, make_payload: MakePayload
) -> Iterator[tuple[FakePeer, Payload]]:
    """Node 1, which sends its peers wrong bytes for the chunks that they ask for."""
    payload = make_payload(8)
    whole = payload.file.read_bytes()
    pieces = [whole[at : at + CHUNK_BYTES] for at in range(0, len(whole), CHUNK_BYTES)]
    chunks: dict[bytes, bytes] = {digest_of(piece): piece for piece in pieces}

    def answer(digest: bytes) -> bytes:
        data = chunks.get(digest, b"?")
        lies = {
            "junk": junk(digest),
            "short": data[:-1] or b"!",
            "too long": data + bytes(1 << 20),
            "flipped": bytes([data[0] ^ 1]) + data[1:],
        }
        return lies[request.param]

    peer = FakePeer(cluster.port, load_identity(str(cluster.home), "node", socket.gethostname()), 1, answer)
    yield peer, payload
    peer.leave()


def test_what_a_hostile_peer_sends_is_fetched_again_elsewhere_and_never_run(
    cluster: Cluster, liar: tuple[FakePeer, Payload]
) -> None:
    peer, payload = liar
    started = [cluster.launch_slave(f"--id={number}") for number in (2, 3, 4)]
    slaves = [cluster.joined(slave, cluster.master) for slave in started]
    job = cluster.begin("e", *payload.words("."))
    assert peer.has_sent.wait(20)
    assert job.stdout is not None
    lines = b"".join(job.stdout.readline() for _ in slaves).decode()
    peer.leave()
    status, stdout, stderr = cluster.finish(job)
    assert (status, stdout) == (125, "")
    assert "gproc: 1: lost" in stderr
    arrived(lines, payload, slaves)
    assert any("sent a corrupt chunk: its chunks come from other sources now" in slave.log for slave in slaves)


def truncate(path: Path) -> None:
    os.truncate(path, 1 << 20)


def replace(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".new"))
    with path.with_suffix(".new").open("r+b") as file:
        file.write(b"not what was sent")
    path.with_suffix(".new").rename(path)


@pytest.mark.parametrize("tamper", [truncate, replace])
def test_a_store_that_was_tampered_with_is_repaired_before_anything_runs(
    cluster: Cluster, make_payload: MakePayload, tamper: Callable[[Path], None]
) -> None:
    """On the node itself, and then on the relay that is to send it to a new child."""
    relay = cluster.slave(1)
    payload = make_payload(8)
    assert cluster.exec(*payload.words("1")).returncode == 0
    (kept,) = (cluster.place / "s1" / "store").glob(f"roots/*/tree{payload.path}")
    tamper(kept)
    done = cluster.exec(*payload.words("1"))
    arrived(done.stdout.decode(), payload, [relay])
    child = cluster.slave(1, parent=relay)
    (kept,) = (cluster.place / "s1" / "store").glob(f"roots/*/tree{payload.path}")
    tamper(kept)
    done = cluster.exec(*payload.words("=1/1"))
    assert (done.returncode, done.stderr) == (0, b"")
    arrived(done.stdout.decode(), payload, [child])


def test_a_node_whose_disk_is_full_is_named_with_the_reason_and_the_others_finish(
    cluster: Cluster, make_payload: MakePayload, small_disk: Path
) -> None:
    started = [cluster.launch_slave(f"--id={number}") for number in (1, 2, 3)]
    started.append(cluster.launch_slave("--id=4", f"--store={small_disk}", "--store-size=1G"))
    slaves = [cluster.joined(slave, cluster.master) for slave in started]
    payload = make_payload(8)
    status, stdout, stderr = cluster.finish(cluster.begin("e", *payload.words(".")))
    assert status == 125
    assert stderr.startswith("gproc: 4: ")
    assert f"the disk of the store {small_disk} has " in stderr
    assert "make room there" in stderr
    arrived(stdout, payload, slaves[:3])
