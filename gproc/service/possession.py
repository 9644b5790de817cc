"""Whether a user has what a bundle holds: a digest alone is no right to its bytes.

A node that has a bundle, or a chunk of it, is not sent it again, even for a job of another user.  So a user who only
knew digests could run another user's program, or read another's file, from the stores of the nodes.  Therefore the
master asks a user once for all of a bundle, and checks each chunk, before that user's first job with it begins.  What
it asks for does not depend on what it has, so no user learns that either.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from gproc.content.manifest import CHUNK_BYTES
from gproc.errors import BundleError, StoreError
from gproc.spread.contents import decoded, stripes_of
from gproc.spread.incoming import IncomingChunk, Parts
from gproc.wire import frames
from gproc.wire.messages import Want

if TYPE_CHECKING:
    from gproc.link.connection import Link

AT_ONCE: Final = 4
"""Chunks that a client is asked for at a time: 4 MiB of memory."""

SILENT_S: Final = 30.0
"""Seconds that a client has to send the chunks that it is asked for, because its user's other jobs may wait for
that."""

REMEMBERED_MAX: Final = 100_000
"""The most bundles of all users that are remembered.  The one that was not used for the longest time is forgotten, and
has to be shown again."""


class _Showing:
    """The chunks that one client was asked to show for one bundle."""

    def __init__(self, client: Link, bundle: bytes) -> None:
        self.client = client
        self.bundle = bundle
        self.arriving: dict[bytes, tuple[IncomingChunk, asyncio.Future[Parts]]] = {}

    def fail(self, reason: str) -> None:
        for _, whole in self.arriving.values():
            if not whole.done():
                whole.set_exception(StoreError(reason))


class Possession:
    """The bundles that each user has shown."""

    def __init__(self, trusted: Collection[int]) -> None:
        """trusted: users who could read all that is in the store anyway: root, and the user who runs the master."""
        self._trusted = trusted
        self._shown: OrderedDict[tuple[int, bytes], int] = OrderedDict()
        """The size of each one's manifest."""
        self._showing: list[_Showing] = []

    def is_shown(self, uid: int, bundle: bytes) -> bool:
        if uid in self._trusted:
            return True
        if (uid, bundle) not in self._shown:
            return False
        self._shown.move_to_end((uid, bundle))
        return True

    def manifest_bytes(self, uid: int, bundle: bytes) -> int:
        """The size of a manifest that was shown; 0 for one that need not be."""
        return self._shown.get((uid, bundle), 0)

    async def show(self, client: Link, uid: int, bundle: bytes) -> None:
        """Have a client show a bundle.  Raises: StoreError if it cannot."""
        showing = _Showing(client, bundle)
        self._showing.append(showing)
        try:
            [parts] = await self._ask(showing, (bundle,), frames.MAX_BLOB_BYTES)
            encoded = b"".join(parts)
            chunks = list(stripes_of(await decoded(encoded)))
            for first in range(0, len(chunks), AT_ONCE):
                await self._ask(showing, chunks[first : first + AT_ONCE], CHUNK_BYTES)
        except BundleError as error:
            raise StoreError(str(error)) from error
        finally:
            self._showing.remove(showing)
        self._shown[uid, bundle] = len(encoded)
        if len(self._shown) > REMEMBERED_MAX:
            self._shown.popitem(last=False)

    def on_piece(self, client: Link, piece: frames.Piece) -> bool:
        """Take a piece of a chunk.  Returns whether it was asked for here."""
        for showing in self._showing:
            if showing.client is client and piece.digest in showing.arriving:
                chunk, whole = showing.arriving[piece.digest]
                if chunk.add(piece):
                    del showing.arriving[piece.digest]
                    content = chunk.finish()
                    if whole.done():
                        pass
                    elif content is None:
                        whole.set_exception(StoreError("the client sent other bytes than its bundle's digest names"))
                    else:
                        whole.set_result(content)
                return True
        return False

    def unavailable(self, client: Link, bundle: bytes, reason: str) -> None:
        """The client cannot show it."""
        for showing in self._showing:
            if showing.client is client and showing.bundle == bundle:
                showing.fail(reason)

    def withdraw(self, client: Link, reason: str) -> None:
        """The client is gone."""
        for showing in self._showing:
            if showing.client is client:
                showing.fail(reason)

    async def _ask(self, showing: _Showing, digests: Collection[bytes], max_bytes: int) -> list[Parts]:
        """Raises: StoreError."""
        if showing.client.lost:
            raise StoreError("the client that brought the program is gone")
        loop = asyncio.get_running_loop()
        wanted: list[asyncio.Future[Parts]] = []
        for digest in digests:
            whole: asyncio.Future[Parts] = loop.create_future()
            showing.arriving[digest] = (IncomingChunk(digest, max_bytes), whole)
            wanted.append(whole)
        showing.client.send(Want(showing.bundle, tuple(digests)))
        try:
            async with asyncio.timeout(SILENT_S):
                return await asyncio.gather(*wanted)
        except TimeoutError:
            raise StoreError(f"the client did not send what its bundle holds within {SILENT_S:.0f} s") from None
