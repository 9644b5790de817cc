"""Makes a View of a root in the store and a ticket, on this node, and remembers what other jobs can use again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from gproc.content.manifest import digest_of
from gproc.content.paths import within
from gproc.errors import LaunchError
from gproc.request.spec import Request
from gproc.root import layers, plan, script, starters
from gproc.root.abilities import Abilities
from gproc.root.asked import Asked
from gproc.root.binroot import job_name
from gproc.root.code_layout import CodeLayout
from gproc.root.facts import NodeFacts, NodeFiles
from gproc.root.locale_archive import ARCHIVE
from gproc.root.view import View
from gproc.root.where import PROC
from gproc.shown import reason_of, shown
from gproc.store.root import Root
from gproc.trust.ticket import Ticket

ALIKE_S: Final = 1.0
"""How long a view serves further tasks of its job.  Planning one costs a node 0.8 ms if nothing of it is
remembered, a third of a short task."""

PREPARED_MAX: Final = 64
"""The most views that wait for their jobs.  A job that was ended meanwhile does not take its view."""


class _Starters(NamedTuple):
    """What a plain node needs of a root beside it.

    node_has: paths of the bundle that the node has, of which the rest was made.
    form: the directory of the bundle's form for plain jobs; b"" if it needs none.
    directories: those of its starters.
    """

    node_has: frozenset[bytes]
    form: bytes
    directories: frozenset[bytes]


class _Planned(NamedTuple):
    """The last view of a root, and what it was made of."""

    facts: NodeFacts
    bundle: plan.LaidOut
    asked: Asked
    starters: _Starters | None
    view: View

    def is_for(self, facts: NodeFacts, bundle: plan.LaidOut, asked: Asked) -> bool:
        """The same facts *object*: `NodeFiles.facts` gives it as long as nothing has changed."""
        return self.facts is facts and (self.bundle, self.asked) == (bundle, asked)


class _ForTasks(NamedTuple):
    """A view that serves further tasks of one ticket."""

    planned_s: float
    program: bytes
    view: View


class Planner:
    """Plans for one slave, whose `abilities` its launcher found out.

    All is for the event loop's thread, which alone changes what is remembered.  Only `_plan` may run in another one.
    """

    def __init__(self, abilities: Abilities, bin_root: bytes, hold: Callable[[], None] = lambda: None) -> None:
        """hold: called before a job gets `bin_root`: it must be there.  Raises: LaunchError."""
        self._abilities = abilities
        self._bin_root = bin_root
        self._hold = hold
        self._node = NodeFiles()
        self._layouts: dict[Root, CodeLayout] = {}
        self._planned: dict[Root, _Planned] = {}
        self._prepared: dict[int, View] = {}
        """By the number of the ticket."""
        self._alike: dict[int, _ForTasks] = {}
        """By the number of the ticket."""

    async def prepare(self, root: Root, ticket: Ticket) -> None:
        """Do the long part of `view` in a thread: it reads all files of a large bundle that the node has, and links all
        of them for plain jobs.

        Raises: LaunchError if this node cannot give a view.
        """
        if not root.is_large:
            return
        loop, asked, name = asyncio.get_running_loop(), self._asked(ticket.request), job_name(os.getpid(), 0)
        layout = self._layouts.get(root)
        if layout is None:
            layout = self._kept_layout(root, await loop.run_in_executor(None, CodeLayout, root.manifest))
        known = self._planned.get(root)
        planned = await loop.run_in_executor(None, self._plan, root, layout, ticket.request, asked, name, known)
        self._planned[root] = planned
        if not self._abilities.view:
            return  # each plain job has a directory of its own
        for number in list(self._prepared)[: max(0, len(self._prepared) - PREPARED_MAX)]:
            del self._prepared[number]
        self._prepared[ticket.sequence] = planned.view

    def bin_root_of(self, request: Request) -> bytes:
        """The directory in which the job finds its bundle: the one that its caller wants, else this slave's own.

        Raises: LaunchError if this node cannot put it there.
        """
        if request.bin_root in (b"", self._bin_root):
            self._hold()
            return self._bin_root
        if not self._abilities.view:
            raise LaunchError(
                f"binRoot {os.fsdecode(request.bin_root)}: this node has no private views, so bundles lie where its "
                f"slave puts them, in {os.fsdecode(self._bin_root)}: leave -binRoot out"
            )
        if within(request.bin_root, PROC):
            name = shown(request.bin_root)
            raise LaunchError(f"binRoot {name}: a job has a /proc of its own: choose another directory")
        return request.bin_root

    def view_alike(self, root: Root | None, ticket: Ticket, job: int) -> View:
        """The same for one of many tasks of a ticket: one that was planned at most ALIKE_S ago serves it too.

        The node's own files may have changed since then.  A plain job's view has a directory of its own.
        """
        if not self._abilities.view:
            return self.view(root, ticket, job)
        program, now_s = ticket.request.argv[0], time.monotonic()
        known = self._alike.get(ticket.sequence)
        if known is not None and known.program == program and now_s - known.planned_s < ALIKE_S:
            return known.view
        view = self.view(root, ticket, job)
        self._alike = {number: kept for number, kept in self._alike.items() if now_s - kept.planned_s < ALIKE_S}
        self._alike[ticket.sequence] = _ForTasks(now_s, program, view)
        return view

    def view(self, root: Root | None, ticket: Ticket, job: int) -> View:
        """The view of a job; root is None if the node's own program runs.

        Raises: LaunchError if this node cannot give one.
        """
        prepared = self._prepared.pop(ticket.sequence, None)
        if prepared is not None:
            return prepared
        name, request, asked = job_name(os.getpid(), job), ticket.request, self._asked(ticket.request)
        if root is None:
            able = self._abilities
            facts = self._node.bare(request.cwd, namespaces=able.view, overlay=able.overlay)
            return plan.plan_local(request.argv[0], self._bin_root, asked, facts, name)
        layout = self._kept_layout(root, self._layouts.get(root) or CodeLayout(root.manifest))
        planned = self._planned[root] = self._plan(root, layout, request, asked, name, self._planned.get(root))
        return planned.view

    def _asked(self, request: Request) -> Asked:
        """Raises: LaunchError."""
        shown_at = self.bin_root_of(request)
        environ = _environ(request)
        return Asked(
            cwd=request.cwd,
            own_cwd=request.own_cwd,
            shown_at=b"" if shown_at == self._bin_root else shown_at,
            home=environ.get(b"HOME", b""),
            name=request.argv[0],
            search_path=environ.get(b"PATH", b""),
            variables=() if self._abilities.view else tuple(environ.items()),
        )

    def _kept_layout(self, root: Root, layout: CodeLayout) -> CodeLayout:
        """Remember the layout of a root, if none is remembered: another job may have made one meanwhile."""
        if root not in self._layouts:
            # A root that was evicted will not be used again, so its plan goes.  Roots in use stay.
            self._layouts = {known: kept for known, kept in self._layouts.items() if known.users}
            self._planned = {known: kept for known, kept in self._planned.items() if known.users}
            self._layouts[root] = layout
        return self._layouts[root]

    def _plan(
        self, root: Root, layout: CodeLayout, request: Request, asked: Asked, name: bytes, known: _Planned | None
    ) -> _Planned:
        """For any thread: it changes nothing here but what `NodeFiles` remembers, which any thread may ask.

        known: the root's last one, which is given back if it serves this job too.  Raises: LaunchError.
        """
        bin_root, namespaces, overlay = self._bin_root, self._abilities.view, self._abilities.overlay
        if not namespaces and os.statvfs(bin_root).f_flag & os.ST_NOEXEC:
            raise LaunchError(
                f"binRoot {os.fsdecode(bin_root)} is on a file system mounted noexec, from where this node, "
                "which has no private views, cannot run anything: choose another with -binRoot"
            )
        facts = self._node.facts(layout, namespaces=namespaces, overlay=overlay, cwd=request.cwd)
        without_glibc = b""
        if plan.needs_without_glibc(layout, facts):
            without_glibc = root.place + b"/without_glibc"
            _make(root, without_glibc, lambda: layers.without_glibc(layout, root.tree, without_glibc))
        interpreter = script.interpreter(layout, root.tree, request.cwd, _environ(request))
        started = None if namespaces else _starters(root, layout, facts, None if known is None else known.starters)
        form, directories = (b"", frozenset[bytes]()) if started is None else (started.form, started.directories)
        bundle = plan.LaidOut(layout, root.tree, without_glibc, interpreter, form, directories)
        if namespaces and known is not None and known.is_for(facts, bundle, asked):
            return known
        return _Planned(facts, bundle, asked, started, plan.plan(bundle, bin_root, asked, facts, name))


def _environ(request: Request) -> dict[bytes, bytes]:
    return dict(item.partition(b"=")[::2] for item in request.env)


def _starters(root: Root, layout: CodeLayout, facts: NodeFacts, known: _Starters | None) -> _Starters:
    """Make the form of a bundle for plain jobs, if it needs one.  Raises: LaunchError."""
    node_has = facts.identical | facts.links
    if known is not None and known.node_has == node_has:
        return known
    found = starters.starters_of(layout, root.tree, node_has)
    to = b""
    if found.scripts or ARCHIVE in facts.absent:
        # By its starters: what the node has may change while jobs still use a former form.
        to = b"%s/plain-%s" % (root.place, digest_of(repr(found.scripts).encode()).hex()[:16].encode())
        _make(root, to, lambda: layers.for_plain(layout, found, root.tree, to))
    return _Starters(node_has, to, found.directories)


def _make(root: Root, form: bytes, make: Callable[[], None]) -> None:
    if os.path.isdir(form):
        return
    try:
        with root.linked():
            make()
    except OSError as error:
        raise LaunchError(f"cannot lay out another form of the bundle: {reason_of(error)}") from error
