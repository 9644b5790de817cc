"""A user cannot hold up another user's jobs: not by silence, and not by lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import pytest

from gproc.content.manifest import Directory, File, Manifest, digest_of, encode
from gproc.request.outcome import Returned
from gproc.request.spec import BundleName
from gproc.wire import frames, messages
from tests.attack.peer import Peer, dial_unix
from tests.attack.test_bad_input import submission
from tests.attack.test_public_files import serve
from tests.system.cluster import NOBODY, Cluster

SCRIPT: Final = b"#!/bin/sh\nexit 7\n"
PROGRAM: Final = File(b"/opt/attack/program", 0o755, 0, 0, len(SCRIPT), 0, digest_of(SCRIPT))
DIRECTORIES: Final = (Directory(b"/opt", 0o755, 0, 0), Directory(b"/opt/attack", 0o755, 0, 0))
ENCODED: Final = encode(Manifest(PROGRAM.path, b"", (), (b"/opt/attack",), (), (0, 0), (*DIRECTORIES, PROGRAM)))
SUBMISSION: Final = submission(argv=(PROGRAM.path,), bundle=BundleName(digest_of(ENCODED), len(SCRIPT)))


@contextmanager
def another_user() -> Iterator[None]:
    """Connections that are made in here are those of another user, if the tests are root's."""
    uid = os.geteuid()
    os.seteuid(NOBODY if uid == 0 else uid)
    try:
        yield
    finally:
        os.seteuid(uid)


def client(cluster: Cluster) -> Peer:
    return dial_unix(cluster.socket).greet(frames.CHANNEL_CLIENT)


def lie(peer: Peer) -> None:
    for digest in peer.hear(messages.Want).digests:
        peer.raw(b"".join(map(frames.piece_frame, frames.pieces(digest, frames.CODEC_RAW, b"a lie"))))


@pytest.mark.parametrize("conduct", ["silent", "lying"])
def test_who_offers_a_bundle_first_cannot_stop_another_users_job_with_it(
    cluster: Cluster, root_only: None, conduct: str
) -> None:
    """The silent one stopped it until he left, the lying one made it fail."""
    cluster.slave(1)
    with ExitStack() as attack:
        with another_user():
            hostile = [attack.enter_context(client(cluster)) for _ in range(5)]
        for peer in hostile:
            peer.say(SUBMISSION).hear(messages.Accepted)
        with client(cluster) as honest:
            honest.say(SUBMISSION)
            if conduct == "lying":
                honest.hear(messages.Accepted)
                lie(hostile[0])
            assert serve(honest, ENCODED, {digest_of(SCRIPT): SCRIPT}).outcome == Returned(7)
