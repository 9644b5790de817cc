"""Each chunk is asked of one source, and of another if that source fails or lags."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gproc.spread.scheduling import OUTSTANDING, SILENT_S, ChunkScheduler

PARENT = "parent"
CHUNKS = [bytes([number]) for number in range(24)]
PEERS = {"even": (0,), "odd": (1,), "both": (0, 1)}


def scheduler_of(**peers: tuple[int, ...]) -> ChunkScheduler[str]:
    scheduler: ChunkScheduler[str] = ChunkScheduler(CHUNKS, lambda digest: digest[0] % 2)
    for name, stripes in peers.items():
        scheduler.add(name, stripes)
    scheduler.add(PARENT, ())
    return scheduler


class Scheduling(RuleBasedStateMachine):
    """Time stands still, so that no source lags."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = scheduler_of(**PEERS)
        self.sources = {*PEERS, PARENT}
        self.missing = set(CHUNKS)
        self.asked: dict[str, set[bytes]] = {name: set() for name in self.sources}

    @rule()
    def ask(self) -> None:
        for source, digests in self.scheduler.ask(0.0).items():
            assert source in self.sources
            for digest in digests:
                assert digest in self.missing
                assert not any(digest in asked for asked in self.asked.values())
                self.asked[source].add(digest)

    @precondition(lambda self: any(self.asked.values()))
    @rule(data=st.data())
    def a_chunk_comes(self, data: st.DataObject) -> None:
        source, digest = self._one_asked(data)
        self.scheduler.arrived(source, digest, 0.0)
        self.asked[source].discard(digest)
        self.missing.discard(digest)

    @precondition(lambda self: any(self.asked.values()))
    @rule(data=st.data())
    def a_chunk_is_corrupt(self, data: st.DataObject) -> None:
        source, digest = self._one_asked(data)
        self.scheduler.corrupt(source, digest)
        self.asked[source].discard(digest)

    @precondition(lambda self: len(self.sources) > 1)
    @rule(data=st.data())
    def a_peer_is_lost(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(sorted(self.sources - {PARENT})))
        self.scheduler.remove(gone)
        self.sources.discard(gone)
        self.asked.pop(gone)

    @invariant()
    def no_source_is_asked_for_too_much(self) -> None:
        assert all(len(asked) <= OUTSTANDING for asked in self.asked.values())

    @invariant()
    def what_is_expected_is_what_was_asked(self) -> None:
        for source, asked in self.asked.items():
            assert {digest for digest in CHUNKS if self.scheduler.expects(source, digest)} == asked

    def teardown(self) -> None:
        """No matter which sources were lost, the remaining ones deliver everything."""
        for _ in CHUNKS:
            self.ask()
            for source, asked in self.asked.items():
                for digest in list(asked):
                    self.scheduler.arrived(source, digest, 0.0)
                    asked.discard(digest)
                    self.missing.discard(digest)
        assert not self.missing

    def _one_asked(self, data: st.DataObject) -> tuple[str, bytes]:
        pairs = sorted((source, digest) for source, asked in self.asked.items() for digest in asked)
        return data.draw(st.sampled_from(pairs))


TestScheduling = Scheduling.TestCase


def test_each_peer_is_asked_for_its_own_stripe_and_the_parent_for_a_stripe_without_peer() -> None:
    requests = scheduler_of(even=(0,)).ask(0.0)
    assert set(requests) == {"even", PARENT}
    assert all(digest[0] % 2 == 0 for digest in requests["even"])
    assert all(digest[0] % 2 == 1 for digest in requests[PARENT])


def test_a_silent_peer_is_not_waited_for() -> None:
    scheduler = scheduler_of(even=(0,), odd=(1,))
    asked = scheduler.ask(0.0)
    assert PARENT not in asked
    assert PARENT not in scheduler.ask(SILENT_S)
    late = scheduler.ask(SILENT_S + 0.1)
    assert len(late[PARENT]) == 1
    assert late[PARENT][0] not in (*asked["even"], *asked["odd"])


def test_a_peer_that_sends_pieces_is_waited_for() -> None:
    scheduler = scheduler_of(even=(0,), odd=(1,))
    scheduler.ask(0.0)
    for source in ("even", "odd"):
        scheduler.heard(source, SILENT_S)
    assert scheduler.ask(SILENT_S + 0.1) == {}


def test_a_peer_that_has_delivered_its_stripe_takes_chunks_from_one_that_lags() -> None:
    """One delivers each chunk in 0.1 s; the other sends pieces but completes no chunk."""
    scheduler = scheduler_of(even=(0,), odd=(1,))
    late = scheduler.ask(0.0)["even"]
    taken: list[bytes] = []
    for step in range(1, 2 * len(CHUNKS)):
        now_s = 0.1 * step
        scheduler.heard("even", now_s)
        for digest in [digest for digest in CHUNKS if scheduler.expects("odd", digest)]:
            scheduler.arrived("odd", digest, now_s)
        taken += scheduler.ask(now_s).get("odd", ())
    evens = [digest for digest in taken if digest[0] % 2 == 0]
    assert taken.index(evens[0]) == len(taken) - len(evens)
    assert sorted(evens) == [digest for digest in CHUNKS if digest[0] % 2 == 0]
    assert set(evens[-len(late) :]) == set(late)


def test_all_chunks_of_a_lost_source_are_asked_of_others() -> None:
    scheduler = scheduler_of(even=(0,))
    requests = scheduler.ask(0.0)
    lost = set(requests["even"])
    scheduler.remove("even")
    again: set[bytes] = set()
    while PARENT in requests:
        for digest in requests[PARENT]:
            scheduler.arrived(PARENT, digest, 0.0)
        requests = scheduler.ask(0.0)
        again |= set(requests.get(PARENT, ()))
    assert lost <= again


def test_a_chunk_that_came_from_one_source_is_no_longer_expected_of_any() -> None:
    scheduler = scheduler_of(even=(0,))
    digest = scheduler.ask(0.0)["even"][0]
    scheduler.arrived(PARENT, digest, 0.0)
    assert not scheduler.expects("even", digest)
    assert not any(digest in digests for digests in scheduler.ask(0.0).values())
