"""A node gets another parent while its bundle comes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gproc.content.manifest import digest_of
from gproc.errors import StoreError
from gproc.node.parent_source import ParentSource
from gproc.request.spec import BundleName, Request
from gproc.trust.identity import load_identity
from gproc.wire import messages
from gproc.wire.branch import Branch
from gproc.wire.messages import Granted, Route, Run, Want
from tests.attack.relay import Relay
from tests.system.cluster import Cluster


@pytest.fixture
def relay(cluster: Cluster) -> Iterator[Relay]:
    relay = Relay(cluster, load_identity(str(cluster.home), "node", socket.gethostname()))
    yield relay
    relay.close()


def wanted(relay: Relay, run: Run) -> bytes:
    """Pass a job on.  Returns the bundle that the slave asks for then."""
    relay.tell(Run(run.job, run.size, run.ticket, Branch(0, {}), run.window_bytes))
    return relay.down_bulk.hear(Want).bundle


def test_the_bundle_that_a_former_parent_was_asked_for_is_asked_of_the_next_one_for_any_job(relay: Relay) -> None:
    """A second job waited for the transfer of the first, which waited until the first came again."""
    relay.pass_grant()
    large = relay.cluster.work / "large"
    large.write_bytes(b"x" * 100_000)
    words = ("-n", "-f", str(large), "=1/2", "/bin/cat", str(large))
    first, run = relay.begin(*words)
    bundle = wanted(relay, run)
    for peer in (relay.down, relay.down_bulk):
        peer.socket.close()
    relay.up.say(messages.Left(Route((2,)), "the test has ended the connection"))
    relay.down, relay.down_bulk, relay.join = relay.listener.adopt(2)
    relay.down.alive = relay.up.alive = (relay.up, relay.down)
    relay.up.say(messages.Arrived(Route((2,)), relay.join.node))
    relay.tell(Granted(Route(()), relay.up.hear(Granted).grant))
    assert relay.up.hear(Run).job == run.job  # it is not passed on
    second, run = relay.begin(*words)
    assert wanted(relay, run) == bundle
    for job in (first, second):
        job.kill()
        job.communicate()


@dataclass
class Ear:
    """Keeps what is sent, as a link of the uplink, and what the fetcher hears."""

    sent: list[Want] = field(default_factory=list)
    back: list[bytes] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)

    def send(self, want: Want) -> None:
        self.sent.append(want)

    def is_fetching(self, bundle: bytes) -> bool:
        return bool(bundle)

    def on_source_back(self, bundle: bytes) -> None:
        self.back.append(bundle)

    def on_unavailable(self, source: object, bundle: bytes, reason: str) -> None:
        self.unavailable.append(reason)


@dataclass
class Way:
    control: object
    bulk: Ear | None


@dataclass
class Job:
    request: Request
    upstream: object


def test_a_new_parent_is_asked_for_a_bundle_when_it_has_sent_the_job() -> None:
    """It was asked at once, and refused: "no job of this node or of those below it has that bundle"."""
    bundle = digest_of(b"a manifest")
    request = Request(nodes="1", argv=(b"/bin/true",), bundle=BundleName(bundle, 1))
    jobs: dict[int, Any] = {}
    first, second, ear = object(), object(), Ear()
    way = Way(first, ear)
    source = ParentSource(cast(Any, ear), cast(Any, ear), cast(Any, way), jobs)
    with source.news(request, cast(Any, first)):
        jobs[1] = Job(request, first)
    source.ask(bundle, (bundle,))
    assert (len(ear.sent), ear.back) == (1, [bundle])
    way.control = second
    source.ask(bundle, (bundle,))
    assert len(ear.sent) == 1
    with source.news(request, cast(Any, second)):
        jobs[1].upstream = second
    source.ask(bundle, (bundle,))
    assert (len(ear.sent), ear.back) == (2, [bundle, bundle])
    with source.news(request, cast(Any, second)):
        jobs[2] = Job(request, second)
    assert ear.back == [bundle, bundle], "what is on its way is not asked for once more"
    del jobs[1]
    source.let_go(request)
    assert not ear.unavailable
    del jobs[2]
    source.let_go(request)
    assert len(ear.unavailable) == 1
    with pytest.raises(StoreError, match="no job of this node needs the bundle"):
        source.ask(bundle, (bundle,))
