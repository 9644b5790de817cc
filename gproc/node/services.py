"""What a program needs of its node: its bundle, a view, and the launcher.  Implements `node.needs.NodeServices`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from gproc.copy.builtin import CollectFiles, task_for
from gproc.disk.trees import remove_tree
from gproc.errors import LaunchError
from gproc.launch.launcher import Launcher, Process
from gproc.launch.protocol import Start
from gproc.node.needs import OnEnd
from gproc.node.pipes import close_all, open_null
from gproc.node.staging import Staging
from gproc.node.voice import Voice
from gproc.nodespec import Place, format_path
from gproc.relay.rounds import Rounds
from gproc.request.acts import ShowStacks
from gproc.root.planner import Planner
from gproc.root.view import View
from gproc.store.root import Root
from gproc.trust.outcomes import SignedEnd
from gproc.trust.ticket import Ticket
from gproc.wire.endings import OutputGone
from gproc.wire.messages import Signed
from gproc.wire.stacks import StacksShown

if TYPE_CHECKING:
    from gproc.node.looking import Looking

_AT_ONCE: Final = 1000
"""Files of a plain job's directory that are removed at once, in some 5 ms."""


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
        self._looking: Looking | None = None
        self._looks: set[asyncio.Task[StacksShown]] = set()
        self._left: dict[int, bytes] = {}
        """By job: the directory of a plain job, which stays until its files are collected."""

    @property
    def place(self) -> Place:
        return self._place()

    def sign(self, end: SignedEnd) -> Signed:
        return self._voice.sign(end)

    def output_gone(self, ticket: Ticket, rank: int, stream: int, size: int) -> OutputGone:
        return self._voice.output_gone(ticket.session, ticket.job, rank, stream, size)

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

    def take_turn(self, uid: int, *, heavy: bool) -> bool:
        return self._rounds.take(uid, heavy=heavy)

    def spawn(
        self, ticket: Ticket, root: Root | None, added: tuple[bytes, ...], handles: tuple[int, int, int], ended: OnEnd,
        *, alike: bool = False,
    ) -> Process:  # fmt: skip
        try:
            start = self._start_of(ticket, root, added, alike=alike)
        except BaseException:
            close_all(list(handles))
            raise
        return self._launcher.spawn(start, *handles, on_exit=ended)

    def _start_of(self, ticket: Ticket, root: Root | None, added: tuple[bytes, ...], *, alike: bool) -> Start:
        """Raises: LaunchError, OSError."""
        process = next(self._process_numbers)
        request = ticket.request
        bin_root = self._planner.bin_root_of(request)
        task = task_for(request.action, request.argv, None if root is None else root.tree, bin_root)
        if isinstance(task, CollectFiles):
            task = CollectFiles(task.path, format_path(self.place).encode(), request.stdin)
        if task is None:
            plan = self._planner.view_alike if alike else self._planner.view
            view = plan(root, ticket, process)
        else:
            # The job changes the node's own file system for good: no mount, no binRoot.
            view = View("namespaces" if self._launcher.abilities.view else "plain", (), b"", b"/")
        added = (*added, b"GPROC_ROOT=" + (view.root or bin_root))
        if request.collect and view.root:
            self._left[ticket.job] = view.root
        return Start(process=process, request=request, caller=ticket.caller, added=added, view=view, task=task)

    def collect(self, ticket: Ticket, root: Root | None, directory: int, to: int, ended: OnEnd) -> Process:
        handles = [directory, to]
        try:
            from gproc.node.bringing import task_of  # few jobs bring files back

            if directory < 0:
                raise LaunchError("the job's working directory could not be opened")
            task = task_of(ticket.request, None if root is None else root.manifest)
            handles.append(open_null())
        except BaseException:
            close_all(handles)
            raise
        view = View("namespaces" if self._launcher.abilities.view else "plain", (), b"", b"/")
        request = msgspec.structs.replace(ticket.request, argv=(b"collect",), env=())
        start = Start(next(self._process_numbers), request, ticket.caller, (), view, task)
        return self._launcher.spawn(start, directory, to, handles[-1], on_exit=ended)

    def look(
        self, ticket: Ticket, rank: int, processes: Sequence[Process], act: ShowStacks,
        tell: Callable[[StacksShown], None],
    ) -> None:  # fmt: skip
        from gproc.node.looking import Looking  # most slaves are never asked

        if self._looking is None:
            self._looking = Looking()
        looking = self._looking
        task = asyncio.create_task(looking.look(ticket.job, rank, processes, ticket.caller, act))
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)
        task.add_done_callback(lambda done: None if done.cancelled() else tell(done.result()))

    def tidy(self, ticket: Ticket) -> None:
        if (root := self._left.pop(ticket.job, b"")) and not remove_tree(root, _AT_ONCE):
            # The next slave removes it, if this one ends before.
            asyncio.get_running_loop().run_in_executor(None, remove_tree, root)
