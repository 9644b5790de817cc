"""Random bytes and random messages on both listening ends: their sender is dropped, and no other peer."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gproc.trust.identity import Identity, load_identity
from gproc.wire import frames, messages, tags
from tests.attack.peer import Peer, dial, dial_unix, node_named
from tests.system.cluster import Cluster

EXAMPLES = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

integers = st.one_of(st.integers(-2, 3), st.integers(-(2**63), 2**64 - 1))
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), integers, st.floats(), st.text(max_size=8), st.binary(max_size=8),
        st.sampled_from([b"/bin/true", b"/", "1", ".", ()]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(integers, inner, max_size=2)),
    max_leaves=12,
)  # fmt: skip
TAGS = sorted(tags.TAGS.values())
loose_messages = st.builds(
    lambda tag, rest: msgspec.msgpack.encode([tag, *rest]), st.sampled_from(TAGS), st.lists(values, max_size=10)
)
payloads = st.one_of(loose_messages, st.binary(max_size=64))
framed = st.builds(
    lambda kind, payload, lie: struct.pack("!IB", max(0, len(payload) + lie), kind) + payload,
    st.sampled_from([1, 1, 1, 2, 3, 4]), payloads, st.sampled_from([0, 0, 0, 0, 1, -1, 1 << 28]),
)  # fmt: skip
streams = st.lists(framed, min_size=1, max_size=4).map(b"".join)


class Fuzzed:
    def __init__(self, cluster: Cluster, identity: Identity) -> None:
        self.cluster = cluster
        self.identity = identity

    def send(self, peer: Peer, stream: bytes) -> None:
        """Say it and hang up; the other end may have hung up first."""
        with peer, contextlib.suppress(OSError):
            peer.raw(stream)
            peer.socket.shutdown(socket.SHUT_WR)
            peer.hear_the_end()

    def is_well(self) -> None:
        done = self.cluster.exec("-localbin", "1", "/bin/echo", "well")
        assert (done.returncode, done.stdout) == (0, b"well\n"), done.stderr
        assert self.cluster.states() == {"1": "up"}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    cluster = Cluster(tmp_path_factory.mktemp("fuzz") / "c")
    cluster.start_master()
    cluster.slave(1)
    fuzzed = Fuzzed(cluster, load_identity(str(cluster.home), "node", socket.gethostname()))
    yield fuzzed
    fuzzed.is_well()
    cluster.stop()


@given(stream=st.one_of(st.binary(max_size=200), streams))
@EXAMPLES
def test_any_bytes_instead_of_a_preface_on_the_unix_socket_are_survived(fuzzed: Fuzzed, stream: bytes) -> None:
    fuzzed.send(dial_unix(fuzzed.cluster.socket), stream)


@given(stream=streams)
@EXAMPLES
def test_any_bytes_from_a_client_are_survived(fuzzed: Fuzzed, stream: bytes) -> None:
    fuzzed.send(dial_unix(fuzzed.cluster.socket).greet(frames.CHANNEL_CLIENT), stream)


@pytest.mark.parametrize("end", ["master", "slave"])
@given(stream=streams, channel=st.sampled_from([frames.CHANNEL_CONTROL, frames.CHANNEL_BULK, frames.CHANNEL_PEER]))
@settings(EXAMPLES, max_examples=80)
def test_any_bytes_from_a_newcomer_are_survived(fuzzed: Fuzzed, end: str, stream: bytes, channel: int) -> None:
    port = fuzzed.cluster.port if end == "master" else fuzzed.cluster.slaves[0].port
    fuzzed.send(dial(port, fuzzed.identity).greet(channel), stream)


@pytest.mark.parametrize("end", ["master", "slave"])
@given(stream=streams, on_bulk=st.booleans())
@settings(EXAMPLES, max_examples=60)
def test_any_bytes_from_a_child_are_survived(fuzzed: Fuzzed, end: str, stream: bytes, on_bulk: bool) -> None:
    port = fuzzed.cluster.port if end == "master" else fuzzed.cluster.slaves[0].port
    token = os.urandom(16)
    with dial(port, fuzzed.identity).greet(frames.CHANNEL_CONTROL) as control:
        control.say(messages.Join(token, None, False, node_named(fuzzed.identity.name))).hear(messages.Welcome)
        bulk = dial(port, fuzzed.identity).greet(frames.CHANNEL_BULK).say(messages.Attach(token))
        with bulk:
            fuzzed.send(bulk if on_bulk else control, stream)
