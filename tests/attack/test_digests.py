"""To know a digest is not enough to get its bytes, for a user or for a node without a part in a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gproc.content.manifest import Directory, File, Manifest, digest_of, encode
from gproc.request.outcome import Returned
from gproc.request.spec import BundleName
from gproc.trust.identity import Identity
from gproc.wire import frames, messages
from tests.attack.peer import Peer, join_as
from tests.attack.target import submission
from tests.attack.test_neighbours import another_user, client
from tests.attack.test_public_files import serve
from tests.pieces import piece_frame
from tests.system.cluster import NOBODY, Cluster

SECRET = b"#!/bin/sh\n# the secret of another user, in a program that only this user may read\nexit 7\n"
DIGEST = digest_of(SECRET)
DIRECTORIES = (Directory(b"/opt", 0o755, 0, 0), Directory(b"/opt/secret", 0o755, 0, 0))


def bundle_of(path: bytes, mode: int) -> tuple[bytes, messages.Submit]:
    program = File(path, mode, 0, 0, len(SECRET), 0, DIGEST)
    encoded = encode(Manifest(path, b"", (), (b"/opt/secret",), (), (0, 0), (*DIRECTORIES, program)))
    return encoded, submission(argv=(path,), bundle=BundleName(digest_of(encoded), len(SECRET)))


ENCODED, SUBMISSION = bundle_of(b"/opt/secret/program", 0o500)
FORGED, FORGED_SUBMISSION = bundle_of(b"/opt/secret/mine", 0o555)
"""A manifest of the attacker's own, which names the secret by its digest."""


@pytest.fixture
def used(cluster: Cluster, root_only: None) -> Cluster:
    """A cluster whose master and node have the secret."""
    cluster.slave(1)
    with client(cluster) as owner:
        owner.say(SUBMISSION)
        assert serve(owner, ENCODED, {DIGEST: SECRET}).outcome == Returned(7)
    return cluster


@contextmanager
def mallory(cluster: Cluster) -> Iterator[Peer]:
    with another_user():
        peer = client(cluster)
    with peer:
        yield peer


def wanted(peer: Peer) -> tuple[bytes, ...]:
    return peer.hear(messages.Want).digests


def give(peer: Peer, data: bytes) -> None:
    """Answer the master's next question for a chunk by these bytes."""
    (digest,) = wanted(peer)
    peer.raw(b"".join(map(piece_frame, frames.pieces(digest, frames.CODEC_RAW, data))))


def test_a_users_digest_does_not_run_another_users_program(used: Cluster) -> None:
    with mallory(used) as peer:
        peer.say(SUBMISSION)
        [bundle] = wanted(peer)
        peer.say(messages.Unavailable(bundle, (bundle,), "I only know its name"))
        assert peer.hear(messages.Rejected).reason == "I only know its name"


@pytest.mark.parametrize("instead", [b"", b"a guess"])
def test_a_manifest_that_names_another_users_file_does_not_get_it(used: Cluster, instead: bytes) -> None:
    with mallory(used) as peer:
        peer.say(FORGED_SUBMISSION)
        give(peer, FORGED)
        if instead:
            give(peer, instead)
            refused = "the client sent other bytes than its bundle's digest names"
        else:
            assert wanted(peer) == (DIGEST,)  # as if no user had shown it
            refused = "no"
            peer.say(messages.Unavailable(digest_of(FORGED), (DIGEST,), refused))
        assert peer.hear(messages.Rejected).reason == refused


def test_who_shows_a_bundle_once_runs_it_and_is_not_asked_again(used: Cluster) -> None:
    with mallory(used) as peer:
        peer.say(FORGED_SUBMISSION)
        give(peer, FORGED)
        give(peer, SECRET)
        peer.hear(messages.Accepted)
        assert serve(peer, FORGED, {DIGEST: SECRET}).outcome == Returned(7)
    with mallory(used) as again:
        again.say(FORGED_SUBMISSION).hear((messages.Accepted, messages.Want))
        assert again.hear(messages.Finished).outcome == Returned(7)


def test_an_ordinary_command_of_another_user_works_after_it_has_shown_its_program(used: Cluster) -> None:
    for _ in range(2):
        done = used.exec("1", "/bin/echo", "well", uid=NOBODY)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"well\n", b"")


def test_a_node_without_a_part_in_a_job_gets_no_chunk_of_its_bundle(used: Cluster, this_node: Identity) -> None:
    control, bulk = join_as(used.port, this_node, 2)
    with control, bulk:
        control.hear(messages.Granted)
        bulk.say(messages.Want(digest_of(ENCODED), (DIGEST,)))
        answer = bulk.hear(messages.Unavailable)
        assert answer.reason == "no job of this node or of those below it has that bundle"


def test_a_node_with_a_part_in_a_job_gets_no_chunk_of_another_bundle(used: Cluster, this_node: Identity) -> None:
    control, bulk = join_as(used.port, this_node, 2)
    program = File(b"/opt/secret/own", 0o755, 0, 0, 3, 0, digest_of(b"own"))
    encoded = encode(Manifest(program.path, b"", (), (b"/opt/secret",), (), (0, 0), (*DIRECTORIES, program)))
    with control, bulk, client(used) as owner:
        control.hear(messages.Granted)
        bundle = digest_of(encoded)
        owner.say(submission(nodes="2", argv=(program.path,), bundle=BundleName(bundle, 3)))
        control.hear(messages.Run)
        bulk.say(messages.Want(bundle, (bundle,)))
        give(owner, encoded)
        give(owner, b"own")
        bulk.say(messages.Want(bundle, (DIGEST,)))
        assert bulk.hear(messages.Unavailable).reason == "the requested chunk is not in its bundle"


def test_bundles_that_are_never_shown_do_not_stop_others_and_are_asked_for_four_at_a_time(used: Cluster) -> None:
    with mallory(used) as peer:
        for number in range(40):
            bundle = BundleName(number.to_bytes(32, "big"), 1)
            peer.say(messages.Submit(number, submission(argv=(b"/bin/true",), bundle=bundle).request))
        asked = [wanted(peer) for _ in range(4)]
        peer.say(messages.Inquire(1))
        peer.hear(messages.TreeState)
        assert not peer.has(messages.Want)
        done = used.exec("1", "/bin/echo", "well")
        assert (done.returncode, done.stdout) == (0, b"well\n")
        for (digest,) in asked:
            peer.say(messages.Unavailable(digest, (digest,), "gone"))
        assert {wanted(peer)[0][-1] for _ in range(4)} == {4, 5, 6, 7}
