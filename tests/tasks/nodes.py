"""Nodes that run tasks in memory, and a client that hands tasks out to them."""

from __future__ import annotations

import random
from collections import deque

from gproc.request.outcome import Lost, NotStarted, Outcome, Returned
from gproc.request.template import Template
from gproc.tasks.feed import TaskDone, TaskEvent, TaskFeed, TaskOutput
from gproc.wire.tasks import (
    WAITING_BYTES_MAX,
    WAITING_TASKS_MAX,
    Assign,
    Recall,
    Setup,
    TaskEnded,
    TaskOrder,
    TaskOrderReader,
    TaskSaid,
    TasksReady,
    TasksReturned,
    report_record,
)

ECHO = Template((b"echo", b"{}"))
WELL = Returned(0)


class Node:
    """A node as it behaves: begins what it was given, in order, as slots are free."""

    def __init__(self, rank: int, slots: int, seconds: float, program: bool) -> None:
        self.reader = TaskOrderReader(rank)
        self.slots = slots
        self.seconds = seconds
        self.has_program = program
        self.queue: deque[TaskOrder] = deque()
        self.running: list[TaskOrder] = []
        self.said = bytearray()
        self.is_set_up = False

    def take(self, data: bytes) -> None:
        for order in self.reader.feed(data):
            match order:
                case Setup():
                    assert not self.is_set_up
                    self.is_set_up = True
                    self.said += report_record(TasksReady(self.slots))
                case Assign(tasks):
                    self.queue.extend(tasks)
                    assert len(self.queue) <= WAITING_TASKS_MAX
                    assert sum(task.size_bytes for task in self.queue) <= WAITING_BYTES_MAX
                case Recall():
                    self.said += report_record(TasksReturned(tuple(task.number for task in self.queue), True))
                    self.queue.clear()
        self.begin()

    def begin(self) -> None:
        while self.queue and len(self.running) < self.slots:
            order = self.queue.popleft()
            if self.has_program:
                self.running.append(order)
            else:
                missing = NotStarted("no such file", "not found")
                self.said += report_record(TaskEnded(order.number, 1, missing, 0.0, True))

    def end(self, index: int, outcome: Outcome) -> None:
        order = self.running.pop(index % len(self.running))
        self.said += report_record(TaskSaid(order.number, 1, b"%d\n" % order.number))
        self.said += report_record(TaskEnded(order.number, 1, outcome, self.seconds))
        self.begin()


class World:
    """A list, nodes, and what has come of them.  chance: decides what happens next."""

    def __init__(self, chance: random.Random, nodes: list[Node], tasks: int, **options: int | None) -> None:
        self.chance = chance
        self.nodes = nodes
        self.gone: set[int] = set()
        self.left = tasks
        self.lines = 0
        self.feed = TaskFeed(Setup(), ECHO, **options)  # type: ignore[arg-type]
        self.feed.begin(len(nodes))
        self.done: dict[int, TaskDone] = {}
        self.wrote: set[int] = set()
        self.began: dict[int, int] = {}

    def step(self, *, may_lose: bool) -> None:
        self.hand_out()
        rank = self.chance.randrange(len(self.nodes))
        node = self.nodes[rank]
        if rank in self.gone:
            return
        if node.running and self.chance.random() < 0.7:
            node.end(self.chance.randrange(99), Returned(self.chance.choice((0, 0, 1))))
        if node.said and self.chance.random() < 0.7:
            size = self.chance.randint(1, len(node.said))
            said, node.said = bytes(node.said[:size]), node.said[size:]
            self.take(self.feed.output(rank, said))
        if may_lose and self.chance.random() < 0.02:
            self.gone.add(rank)
            self.take(self.feed.exited(rank, Lost("closed the connection")))

    def hand_out(self) -> None:
        while self.feed.wanted > 0 and self.left:
            self.left -= 1
            self.lines += 1
            self.feed.add(self.lines, (b"value",))
        if not self.left:
            self.feed.end_list()
        data = self.feed.outgoing()
        for rank, node in enumerate(self.nodes):
            if rank not in self.gone:
                node.take(data)
                for order in node.running:
                    assert self.began.setdefault(order.number, rank) == rank, "a task ran on two nodes"

    def take(self, events: object) -> None:
        for event in events:  # type: ignore[attr-defined]
            self.note(event)

    def note(self, event: TaskEvent) -> None:
        number = event.task.number
        assert number not in self.done, "something of a task came after its end"
        if isinstance(event, TaskOutput):
            assert event.data == b"%d\n" % number
            self.wrote.add(number)
        else:
            self.done[number] = event
