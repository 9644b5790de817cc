"""The links of all masters and children: a message goes from the one that sends it to those that `routing` names.

Memory is bounded: while a receiver's outbox is full, those that sent to it are not read.  If a child takes nothing for
STALL_S while another process waits for it, the child loses its link.  A master never loses it for that: only its
senders wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gproc.adapters.gfork.frames import CLOSED, DATA, OPENED, Frame
from gproc.adapters.gfork.links import ProcessEnds, ProcessLink
from gproc.adapters.gfork.routing import Destinations, Routing

STALL_S: Final = 10.0
"""How long the senders of a child wait for it."""

LAST_READS: Final = 17
"""Reads of 64 KiB after the end of a child: what the largest pipe holds, 1 MiB (pipe(7)), and the end."""

MAX_LINGERING: Final = 256
"""Links of ended children whose last messages a master has not taken.  Of more, the oldest is closed."""


class Switchboard:
    """log: takes a sentence about a child that lost its link or its messages."""

    def __init__(self, log: Callable[[str], None], stall_s: float = STALL_S) -> None:
        self._log = log
        self._stall_s = stall_s
        self._routing = Routing()
        self._masters: dict[int, ProcessLink] = {}
        self._children: dict[int, ProcessLink] = {}
        self._ended: dict[int, ProcessLink] = {}
        """Links of processes that have ended, but whose last messages are still on their way."""
        self._reads_left: dict[int, int] = {}
        """Reads that are left for each of these, because processes that they left behind may hold the link and write
        for ever."""
        self._stalls: dict[ProcessLink, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()

    # Masters

    def add_master(self, place: int, on_end: Callable[[str | None], None]) -> None:
        """A place for a master.  Children that begin before one is there are told to it when it is.

        on_end: called when the master ended its link, with the reason if it broke the protocol.
        """

        def deliver(link: ProcessLink) -> None:
            self._deliver(link, lambda frame: self._routing.from_master(place, frame.to_pid))

        self._routing.add_master(place)
        self._masters[place] = ProcessLink(deliver, self._has_room, lambda _, reason: on_end(reason))

    def open_master(self, place: int) -> ProcessEnds:
        """Raises: OSError if there are no more descriptors."""
        return self._masters[place].open()

    def start_master(self, place: int, pid: int) -> None:
        self._masters[place].start(pid)

    def master_ended(self, place: int) -> None:
        """The process of a place ended, or could not be started.

        Its children are told by CLOSED with its pid, and by the end of their link if it was their only master.
        """
        told = self._routing.children_of(place)
        self._tell_end(self._masters[place], told, self._routing.master_ended(place))

    def remove_master(self, place: int) -> None:
        told = self._routing.children_of(place)
        self._tell_end(self._masters.pop(place), told, self._routing.remove_master(place))

    def _tell_end(self, master: ProcessLink, told: tuple[int, ...], orphans: tuple[int, ...]) -> None:
        for pid in told:
            if (link := self._children.get(pid)) and master.pid:
                link.push(Frame(CLOSED, master.pid, pid).encode())
        self._release(master)
        for pid in orphans:
            self._cut(pid)

    @property
    def has_delivered_all(self) -> bool:
        """Whether every master has taken what was sent to it."""
        return not self._ended and not any(link.outbox for link in self._masters.values())

    # Children

    def open_child(self) -> tuple[ProcessLink, ProcessEnds]:
        """A link for a child that is about to be started.  Raises: OSError if there are no more descriptors."""

        def deliver(link: ProcessLink) -> None:
            self._deliver(link, lambda frame: self._routing.from_child(link.pid, frame.to_pid))

        link = ProcessLink(deliver, self._has_room, self._child_link_ended)
        return link, link.open()

    def start_child(self, pid: int, link: ProcessLink) -> None:
        """Tell the masters; after that, read what the child sends."""
        if old := self._ended.get(pid):  # its number is used again
            self._finish(old)
        self._children[pid] = link
        for place in self._routing.child_opened(pid):
            self._masters[place].push(Frame(OPENED, pid, 0).encode(), about=pid)
        link.start(pid)

    def child_ended(self, pid: int) -> None:
        """The child's process is no more.  The masters get what it sent, and then CLOSED."""
        link = self._children.pop(pid, None)
        if link is None:
            self._tell_closed(pid)
            return
        self._ended[pid] = link
        self._reads_left[pid] = LAST_READS
        link.outbox.clear()
        self._has_room(link)
        self._drain(link)
        if len(self._ended) > MAX_LINGERING:
            oldest = next(iter(self._ended.values()))
            self._log(f"child {oldest.pid}: its last messages are lost, because a master does not read")
            self._finish(oldest)

    def _drain(self, link: ProcessLink) -> None:
        """Read all that an ended child left.  If a receiver is full, the rest follows when it has room."""
        pid = link.pid
        while link.is_open and not link.inbox and self._reads_left[pid] and link.read():
            self._reads_left[pid] -= 1
        if not link.inbox and link.pid in self._ended:
            self._finish(link)

    def _finish(self, link: ProcessLink) -> None:
        del self._ended[link.pid], self._reads_left[link.pid]
        self._tell_closed(link.pid)
        self._release(link)

    def _tell_closed(self, pid: int) -> None:
        for place in self._routing.child_closed(pid):
            master = self._masters[place]
            if not master.outbox.withdraw(pid):
                master.push(Frame(CLOSED, pid, 0).encode())

    def _child_link_ended(self, link: ProcessLink, reason: str | None) -> None:
        """A child may close its end and go on.  One that breaks the protocol loses its link."""
        if reason is None:
            return
        self._log(f"child {link.pid} loses its link: {reason}")
        if link.pid in self._ended:
            self._finish(link)
        else:
            self._cut(link.pid)

    def _cut(self, pid: int) -> None:
        """Take a child's link; its process goes on."""
        self._reads_left.pop(pid, None)
        if link := self._children.pop(pid, None) or self._ended.pop(pid, None):
            self._release(link)

    def _release(self, link: ProcessLink) -> None:
        link.close()
        if timer := self._stalls.pop(link, None):
            timer.cancel()
        self._has_room(link)

    # Messages

    def _deliver(self, sender: ProcessLink, destinations_of: Callable[[Frame], Destinations]) -> None:
        """Deliver the sender's inbox, as far as all receivers of the next message have room."""
        while sender.inbox:
            frame = sender.inbox[0]
            receivers = self._links(destinations_of(frame)) if frame.type == DATA and frame.body else []
            if full := [link for link in receivers if link.outbox.is_full]:
                sender.pause()
                for link in full:
                    link.senders.add(sender)
                    self._watch(link)
                return
            sender.inbox.popleft()
            message = Frame(DATA, sender.pid, frame.to_pid, frame.body).encode()
            for link in receivers:
                link.push(message, about=sender.pid)
        sender.resume()

    def _links(self, destinations: Destinations) -> list[ProcessLink]:
        children = (self._children.get(pid) for pid in destinations.children)
        return [*(self._masters[place] for place in destinations.masters), *(link for link in children if link)]

    def _has_room(self, link: ProcessLink) -> None:
        if link.senders:
            self._loop.call_soon(self._resume_senders, link)

    def _resume_senders(self, link: ProcessLink) -> None:
        senders, link.senders = link.senders, set()
        for sender in senders:
            sender.deliver()
            if sender.pid in self._ended:
                self._drain(sender)

    def _watch(self, link: ProcessLink) -> None:
        if link not in self._stalls and link.pid in self._children:
            self._stalls[link] = self._loop.call_later(self._stall_s, self._check_stall, link)

    def _check_stall(self, link: ProcessLink) -> None:
        del self._stalls[link]
        if not link.senders or link.pid not in self._children:
            return
        if self._loop.time() - link.moved_at_s < self._stall_s:
            self._watch(link)
            return
        self._log(f"child {link.pid} loses its link: it read nothing for {self._stall_s:g} s while others sent to it")
        self._cut(link.pid)
