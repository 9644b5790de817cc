"""Makes a View of a root in the store and a ticket, on this node, and remembers what other jobs can use again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final

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


class Planner:
    """Plans for one slave, whose `abilities` its launcher found out."""

    def __init__(self, abilities: Abilities, bin_root: bytes, hold: Callable[[], None] = lambda: None) -> None:
        """hold: called before a job gets `bin_root`: it must be there.  Raises: LaunchError."""
        self._abilities = abilities
        self._bin_root = bin_root
        self._hold = hold
        self._node = NodeFiles()
        self._layouts: dict[Root, CodeLayout] = {}
        self._planned: dict[Root, tuple[NodeFacts, plan.LaidOut, Asked, View]] = {}
        """The last view of each root, and what it was made of."""
        self._started: dict[Root, tuple[frozenset[bytes], bytes, frozenset[bytes]]] = {}
        """For each root on a plain node: what the node has of it, and what `_for_plain` answered then."""
        self._prepared: dict[int, View] = {}
        """By the number of the ticket."""
        self._alike: dict[int, tuple[float, bytes, View]] = {}
        """By the number of the ticket: when it was planned, for which program, and the view."""

    async def prepare(self, root: Root, ticket: Ticket) -> None:
        """Do the long part of `view` in a thread: it reads all files of a large bundle that the node has, and links all
        of them for plain jobs.

        Raises: LaunchError if this node cannot give a view.
        """
        if not root.is_large:
            return
        view = await asyncio.get_running_loop().run_in_executor(None, self.view, root, ticket, 0)
        if not self._abilities.view:
            return  # each plain job has a directory of its own
        for number in list(self._prepared)[: max(0, len(self._prepared) - PREPARED_MAX)]:
            del self._prepared[number]
        self._prepared[ticket.sequence] = view

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
        if known is not None and known[1] == program and now_s - known[0] < ALIKE_S:
            return known[2]
        view = self.view(root, ticket, job)
        self._alike = {number: kept for number, kept in self._alike.items() if now_s - kept[0] < ALIKE_S}
        self._alike[ticket.sequence] = (now_s, program, view)
        return view

    def view(self, root: Root | None, ticket: Ticket, job: int) -> View:
        """The view of a job; root is None if the node's own program runs.

        Raises: LaunchError if this node cannot give one.
        """
        prepared = self._prepared.pop(ticket.sequence, None)
        if prepared is not None:
            return prepared
        name = job_name(os.getpid(), job)
        bin_root, shown_at = self._bin_root, self.bin_root_of(ticket.request)
        namespaces, overlay = self._abilities.view, self._abilities.overlay
        request = ticket.request
        environ = dict(item.partition(b"=")[::2] for item in request.env)
        asked = Asked(
            cwd=request.cwd,
            own_cwd=request.own_cwd,
            shown_at=b"" if shown_at == bin_root else shown_at,
            home=environ.get(b"HOME", b""),
            name=request.argv[0],
            search_path=environ.get(b"PATH", b""),
            variables=() if namespaces else tuple(environ.items()),
        )
        if root is None:
            facts = self._node.bare(request.cwd, namespaces=namespaces, overlay=overlay)
            return plan.plan_local(request.argv[0], bin_root, asked, facts, name)
        if not namespaces and os.statvfs(bin_root).f_flag & os.ST_NOEXEC:
            raise LaunchError(
                f"binRoot {os.fsdecode(bin_root)} is on a file system mounted noexec, from where this node, "
                "which has no private views, cannot run anything: choose another with -binRoot"
            )
        layout = self._layout(root)
        facts = self._node.facts(layout, namespaces=namespaces, overlay=overlay, cwd=request.cwd)
        without_glibc = b""
        if plan.needs_without_glibc(layout, facts):
            without_glibc = root.place + b"/without_glibc"
            self._make(root, without_glibc, lambda: layers.without_glibc(layout, root.tree, without_glibc))
        interpreter = script.interpreter(layout, root.tree, request.cwd, environ)
        for_plain, started = (b"", frozenset[bytes]()) if namespaces else self._for_plain(root, layout, facts)
        bundle = plan.LaidOut(layout, root.tree, without_glibc, interpreter, for_plain, started)
        known = self._planned.get(root)
        if namespaces and known is not None and known[0] is facts and known[1:3] == (bundle, asked):
            return known[3]
        view = plan.plan(bundle, bin_root, asked, facts, name)
        self._planned[root] = (facts, bundle, asked, view)
        return view

    def _layout(self, root: Root) -> CodeLayout:
        layout = self._layouts.get(root)
        if layout is None:
            # A root that was evicted will not be used again, so its plan goes.  Roots in use stay.
            self._layouts = {known: kept for known, kept in self._layouts.items() if known.users}
            self._planned = {known: kept for known, kept in self._planned.items() if known.users}
            self._started = {known: kept for known, kept in self._started.items() if known.users}
            layout = self._layouts[root] = CodeLayout(root.manifest)
        return layout

    def _for_plain(self, root: Root, layout: CodeLayout, facts: NodeFacts) -> tuple[bytes, frozenset[bytes]]:
        """The form of a bundle for plain jobs, and the directories of its starters; (b"", none) if it needs none."""
        node_has = facts.identical | facts.links
        known = self._started.get(root)
        if known is not None and known[0] == node_has:
            return known[1:]
        found = starters.starters_of(layout, root.tree, node_has)
        to = b""
        if found.scripts or ARCHIVE in facts.absent:
            # By its starters: what the node has may change while jobs still use a former form.
            to = b"%s/plain-%s" % (root.place, digest_of(repr(found.scripts).encode()).hex()[:16].encode())
            self._make(root, to, lambda: layers.for_plain(layout, found, root.tree, to))
        self._started[root] = node_has, to, found.directories
        return to, found.directories

    def _make(self, root: Root, form: bytes, make: Callable[[], None]) -> None:
        if os.path.isdir(form):
            return
        try:
            with root.linked():
                make()
        except OSError as error:
            raise LaunchError(f"cannot lay out another form of the bundle: {reason_of(error)}") from error
