"""The chunks of our bundles, for the master: read one at a time, so that none waits in memory."""

from __future__ import annotations

from collections import deque
from typing import Final

from gproc.client.session import ChunksWanted, ClientSession
from gproc.content.manifest import Digest
from gproc.errors import BundleError
from gproc.packager import Bundle, read_chunk

OUTBOX_BYTES: Final = 1 << 20
"""While there are this many unsent bytes, no further chunk is read."""


class ChunkServer:
    """The chunks that the master asked for and that were not sent yet.

    problems: by bundle digest, why a chunk of it could not be sent: in most cases a file has changed.
    asked: how many chunks the master has asked for so far.
    """

    def __init__(self, session: ClientSession) -> None:
        self.problems: dict[bytes, str] = {}
        self.asked = 0
        self._session = session
        self._bundles: dict[bytes, Bundle] = {}
        self._wanted: deque[tuple[bytes, bytes]] = deque()

    def offer(self, bundle: Bundle) -> None:
        self._bundles[bundle.digest] = bundle

    def want(self, wanted: ChunksWanted) -> None:
        self.asked += len(wanted.digests)
        self._wanted.extend((wanted.bundle, digest) for digest in wanted.digests)
        self.serve()

    @property
    def busy(self) -> bool:
        return bool(self._wanted)

    def serve(self) -> None:
        """Put as many chunks into the session's outbox as fit."""
        while self._wanted and self._session.unsent_bytes < OUTBOX_BYTES:
            digest_of_bundle, digest = self._wanted.popleft()
            bundle = self._bundles.get(digest_of_bundle)
            if bundle is None:
                self._session.refuse_chunk(digest_of_bundle, digest, "this client does not have it")
                continue
            try:
                data = bundle.encoded if digest == digest_of_bundle else read_chunk(bundle, Digest(digest))
            except KeyError:
                self._session.refuse_chunk(digest_of_bundle, digest, "the bundle has no such chunk")
            except BundleError as error:
                self.problems[digest_of_bundle] = str(error)
                self._session.refuse_chunk(digest_of_bundle, digest, str(error))
            else:
                self._session.send_chunk(digest, data)
