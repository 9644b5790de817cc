"""A bundle of several clients, of which one stops sending it or lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gproc.packager import Bundle, PackRequest, pack
from gproc.request.outcome import Returned
from gproc.request.spec import BundleName, Request
from gproc.wire import frames, messages
from tests.attack.peer import Peer, dial_unix
from tests.pieces import piece_frame
from tests.system.cluster import Cluster

SIZE_BYTES = 5 << 20


@pytest.fixture
def large(cluster: Cluster) -> Path:
    """A file that the one node does not have."""
    cluster.slave(1)
    path = cluster.work / "large"
    path.write_bytes(os.urandom(SIZE_BYTES))
    return path


def offer(cluster: Cluster, bundle: Bundle) -> Peer:
    """A client that submits this bundle.  The test decides whether it sends the chunks that the master wants."""
    peer = dial_unix(cluster.socket).greet(frames.CHANNEL_CLIENT)
    name = BundleName(bundle.digest, bundle.manifest.size_bytes())
    return peer.say(messages.Submit(1, Request(nodes="1", argv=(b"/bin/true",), bundle=name)))


def packed(cluster: Cluster, large: Path) -> Bundle:
    """The bundle of `gproc e -f large /bin/cat`."""
    cache = str(cluster.place / "own-cache")
    return pack(PackRequest("/bin/cat", str(cluster.work), cluster.env, (str(large),), cache_dir=cache))


@pytest.mark.parametrize("end", ["gone", "lacking"])
def test_a_job_goes_on_if_another_client_of_the_same_bundle_fails(cluster: Cluster, large: Path, end: str) -> None:
    first = offer(cluster, packed(cluster, large))
    want = first.hear(messages.Want)
    job = cluster.begin("e", "-n", "-f", str(large), "1", "/bin/cat", str(large))
    cluster.master.says(r"job \d+: uid .*/bin/cat")
    if end == "lacking":
        first.say(messages.Unavailable(want.bundle, want.digests, "it changed while it was sent"))
    else:
        first.socket.close()
    stdout, stderr = job.communicate(timeout=30)
    assert (job.returncode, stderr) == (0, b"")
    assert stdout == large.read_bytes()
    first.socket.close()


def test_a_client_that_offers_nothing_cannot_spoil_anothers_transfer(cluster: Cluster, large: Path) -> None:
    bundle = packed(cluster, large)
    with offer(cluster, bundle) as genuine, dial_unix(cluster.socket).greet(frames.CHANNEL_CLIENT) as stranger:
        want = genuine.hear(messages.Want)
        stranger.say(messages.Unavailable(want.bundle, want.digests, "a lie"))
        stranger.raw(piece_frame(frames.Piece(want.bundle, 4, 0, frames.CODEC_RAW, b"junk")))
        stranger.say(messages.Inquire(1)).hear(messages.TreeState)
        for piece in frames.pieces(bundle.digest, frames.CODEC_RAW, bundle.encoded):
            genuine.raw(piece_frame(piece))
        # The files are this machine's own, so master and node need only the manifest.
        assert genuine.hear(messages.Finished).outcome == Returned(0)
