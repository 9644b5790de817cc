"""What a program needs of its node: its bundle, a view, and the launcher.  Implements `node.program.NodeServices`."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from gproc.copy.builtin import CollectFiles, task_for
from gproc.launch.launcher import Launcher, Process
from gproc.launch.protocol import Start
from gproc.node.program import OnEnd
from gproc.node.staging import Staging
from gproc.node.voice import Voice
from gproc.nodespec import Place, format_path
from gproc.relay.rounds import Rounds
from gproc.root.planner import Planner
from gproc.root.view import View
from gproc.store.root import Root
from gproc.trust.outcomes import SignedEnd
from gproc.trust.ticket import Ticket
from gproc.wire.messages import Signed


class LocalServices:
    """The services of one slave.  place: called for each job, because a grant may change the place."""

    def __init__(
        self, staging: Staging, launcher: Launcher, planner: Planner, place: Callable[[], Place], voice: Voice
    ) -> None:
        self._staging = staging
        self._launcher = launcher
        self._planner = planner
        self._place = place
        self._voice = voice
        self._process_numbers = itertools.count(1)
        self._rounds = Rounds()

    @property
    def place(self) -> Place:
        return self._place()

    def sign(self, end: SignedEnd) -> Signed:
        return self._voice.sign(end)

    async def root(self, ticket: Ticket, tell: Callable[[int, bool], None]) -> Root | None:
        root = await self._staging.root(ticket, tell)
        if root is not None:
            try:
                await self._planner.prepare(root, ticket)
            except BaseException:  # the job may have been cancelled
                root.release()
                raise
        return root

    async def turn(self, uid: int, *, heavy: bool) -> None:
        await self._rounds.turn(uid, heavy=heavy)

    def spawn(
        self, ticket: Ticket, root: Root | None, added: tuple[bytes, ...], handles: tuple[int, int, int], ended: OnEnd
    ) -> Process:
        process = next(self._process_numbers)
        request = ticket.request
        bin_root = self._planner.bin_root_of(request)
        task = task_for(request.action, request.argv, None if root is None else root.tree, bin_root)
        if isinstance(task, CollectFiles):
            task = CollectFiles(task.path, format_path(self.place).encode(), request.stdin)
        if task is None:
            view = self._planner.view(root, ticket, process)
        else:
            # The job changes the node's own file system for good: no mount, no binRoot.
            view = View("namespaces" if self._launcher.abilities.view else "plain", (), b"", b"/")
        added = (*added, b"GPROC_ROOT=" + (view.root or bin_root))
        start = Start(process=process, request=request, caller=ticket.caller, added=added, view=view, task=task)
        return self._launcher.spawn(start, *handles, on_exit=ended)
