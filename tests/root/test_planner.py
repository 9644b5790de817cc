"""A slave plans for many jobs at once: the long part of a large bundle's runs in a thread beside the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from gproc.content.manifest import Directory, Manifest, encode
from gproc.request.spec import Caller, Request
from gproc.root.abilities import Abilities
from gproc.root.planner import Planner
from gproc.root.view import View
from gproc.store.partial import INLINE_ENTRIES, Owner
from gproc.store.recent import ReadManifest, RecentManifests
from gproc.store.root import Root
from gproc.trust.signing import SESSION_BYTES
from gproc.trust.ticket import Ticket

PRIVATE = Abilities(view=True, overlay=True, root=False, reason="")


class WatchedRoot(Root):
    """Remembers which threads asked for its users: `Planner` does so while it goes through all that it remembers."""

    def __init__(self, at: Path, entries: int) -> None:
        self.asked_by: set[int] = set()
        directories = tuple(Directory(b"/opt/%06d" % number, 0o755, 0, 0) for number in range(entries))
        manifest = Manifest(b"", b"", (), (), (), (0, 0), (Directory(b"/opt", 0o755, 0, 0), *directories))
        read = ReadManifest(manifest, encode(manifest))
        super().__init__(bytes(at), read, Owner(os.getuid(), os.getgid()), RecentManifests())

    @property
    def users(self) -> int:
        self.asked_by.add(threading.get_ident())
        return 1

    @users.setter
    def users(self, count: int) -> None:
        """A job uses it, always."""


def ticket(sequence: int) -> Ticket:
    request = Request(nodes="1", argv=(b"/opt/program",))
    return Ticket(
        session=bytes(SESSION_BYTES), sequence=sequence, job=sequence, start_by_ms=1,
        caller=Caller(os.getuid(), os.getgid(), ()), request=request,
    )  # fmt: skip


def test_jobs_that_begin_while_a_large_bundle_is_planned_do_not_fail(tmp_path: Path) -> None:
    """They did now and then: "dictionary changed size during iteration", because a thread changed it too."""

    async def run() -> tuple[list[WatchedRoot], list[View]]:
        planner = Planner(PRIVATE, b"/xproc")
        large = [WatchedRoot(tmp_path / f"large{number}", INLINE_ENTRIES + 1) for number in range(4)]
        small = [WatchedRoot(tmp_path / f"small{number}", 3) for number in range(50)]
        preparing = [asyncio.create_task(planner.prepare(root, ticket(n))) for n, root in enumerate(large)]
        for number, root in enumerate(small):
            planner.view(root, ticket(100 + number), number)
            await asyncio.sleep(0)
        await asyncio.gather(*preparing)
        return [*large, *small], [planner.view(root, ticket(n), n) for n, root in enumerate(large)]

    roots, views = asyncio.run(run())
    assert set().union(*(root.asked_by for root in roots)) == {threading.get_ident()}
    assert len({view.root for view in views}) == 1
    assert all(view.kind == "namespaces" for view in views)
