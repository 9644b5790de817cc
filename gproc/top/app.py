"""The application: nodes and jobs side by side in tabs, and a screen for a node or a job."""

from __future__ import annotations

import asyncio
import signal
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import DataTable, Footer, Label, RichLog, Static, TabbedContent, TabPane, Tree

from gproc.client.known import JobInfo
from gproc.client.tree import NodeStatus
from gproc.client.watching import FRESH_S, Look, Watching
from gproc.errors import EXIT_SIGNAL_BASE, GprocError, SpecError
from gproc.nodespec import NodeSpec, Path
from gproc.top.node_tree import NodeTree
from gproc.top.tail import LOG_LINES, Tail
from gproc.top.text import JOB_COLUMNS, job_cells, job_facts, node_facts, summary

JOBS_SHOWN: Final = 500
LINES_AT_ONCE: Final = 50
"""Lines that are drawn between two looks for keys: 5 to 10 ms."""

BUSY_S: Final = 0.01
IDLE_S: Final = 0.1
"""Seconds between two times of drawing a log."""


class TopApp(App[None]):
    """watching: what it asks.  name_of_user: by uid."""

    TITLE = "gproc"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { overflow: hidden; }
    TabbedContent, TabPane { height: 1fr; padding: 0; }
    #summary { height: auto; max-height: 5; padding: 0 1; background: $panel; }
    Tree, DataTable { height: 1fr; }
    #facts { height: auto; max-height: 50%; padding: 0 1; }
    RichLog { height: 1fr; border-top: solid $panel; }
    Confirmation { align: center middle; }
    Confirmation > Label { max-width: 100%; padding: 0 1; border: thick $error; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        # Textual's own Ctrl-C only says which key ends the program.
        Binding("ctrl+c", "interrupt", show=False, priority=True),
        Binding("n", "show('nodes')", "Nodes"),
        Binding("j", "show('jobs')", "Jobs"),
    ]

    def __init__(self, watching: Watching, name_of_user: Callable[[int], str]) -> None:
        super().__init__()
        self.animation_level = "none"  # nothing moves by itself: it is to play over ssh
        self.watching = watching
        self.look = Look(None, trouble="asking the master ...")
        self.name_of_user = name_of_user

    def compose(self) -> ComposeResult:
        yield Static(id="summary")
        with TabbedContent(initial="nodes"):
            with TabPane("Nodes", id="nodes"):
                yield NodeTree()
            with TabPane("Jobs", id="jobs"):
                yield DataTable(id="table", cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#table", DataTable).add_columns(*JOB_COLUMNS)
        self.query_one("#tree").focus()
        for signum in (signal.SIGTERM, signal.SIGHUP):  # else the terminal stays as it is while we draw on it
            asyncio.get_running_loop().add_signal_handler(signum, self.exit, None, 128 + signum)
        self.run_worker(self.ask_again_and_again())

    async def ask_again_and_again(self) -> None:
        while True:
            await self.ask()
            await asyncio.sleep(2 * FRESH_S)

    async def ask(self) -> None:
        self.look = await self.watching.look()
        if not self.is_running:
            return
        self.screen_stack[0].query_one("#summary", Static).update(summary(self.look))
        self.screen_stack[0].query_one(NodeTree).show(self.look.tree.nodes if self.look.tree else ())
        self._show_jobs()
        if isinstance(self.screen, _Facts):
            self.screen.refresh_facts()

    def action_interrupt(self) -> None:
        self.exit(return_code=EXIT_SIGNAL_BASE + signal.SIGINT)

    def action_show(self, name: str) -> None:
        self.query_one(TabbedContent).active = name
        self.query_one("#tree" if name == "nodes" else "#table").focus()

    def on_tree_node_selected(self, event: Tree.NodeSelected[str]) -> None:
        if event.node.data:
            self.push_screen(NodeScreen(event.node.data))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self.push_screen(JobScreen(int(str(event.row_key.value))))

    def _show_jobs(self) -> None:
        table = self.screen_stack[0].query_one("#table", DataTable)
        jobs = sorted(self.look.jobs, key=lambda job: job.number, reverse=True)[:JOBS_SHOWN]
        names = [str(job.number) for job in jobs]
        present = [str(key.value) for key in table.rows]
        if names != present:
            at = table.cursor_row
            chosen = present[at] if at < len(present) else ""
            table.clear()
            for job in jobs:
                table.add_row(*job_cells(job, self.name_of_user(job.uid)), key=str(job.number))
            if chosen in names:
                table.move_cursor(row=names.index(chosen), animate=False)
            return
        for row, job in enumerate(jobs):
            for column, cell in enumerate(job_cells(job, self.name_of_user(job.uid))):
                if table.get_cell_at((row, column)) != cell:  # type: ignore[arg-type]
                    table.update_cell_at((row, column), cell)  # type: ignore[arg-type]


class _Facts(Screen[None]):
    """A screen about one thing."""

    app: TopApp
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,backspace", "app.pop_screen", "Back")]

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(id="facts")
        yield Footer()

    def on_mount(self) -> None:
        self.refresh_facts()

    def refresh_facts(self) -> None:
        self.query_one("#facts", Static).update(self.facts())

    @abstractmethod
    def facts(self) -> Text:
        """What is known of it now."""


class NodeScreen(_Facts):
    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def facts(self) -> Text:
        found = self._found()
        if self.app.look.tree is None:
            return Text(self.app.look.trouble, "red")
        if found is None:
            return Text(f"{self._node} is no longer in the tree")
        return node_facts(found, [job for job in self.app.look.jobs if self._runs(job)])

    def _found(self) -> NodeStatus | None:
        nodes = self.app.look.tree.nodes if self.app.look.tree else ()
        return next((node for node in nodes if node.node == self._node), None)

    def _runs(self, job: JobInfo) -> bool:
        place = Path(tuple(map(int, self._node.split("/"))))
        try:
            return job.state == "running" and NodeSpec.parse(job.nodes).selects(place)
        except SpecError:  # it names hosts
            return False


class JobScreen(_Facts):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "end('Terminate', 15)", "Terminate"),
        Binding("k", "end('Kill', 9)", "Kill"),
    ]

    def __init__(self, job: int) -> None:
        super().__init__()
        self._job = job
        self._tail = Tail()

    def compose(self) -> ComposeResult:
        yield Static(id="facts")
        yield RichLog(id="log", max_lines=LOG_LINES, wrap=True)
        yield Footer()

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#log").focus()
        self.run_worker(self.follow())
        self.run_worker(self.draw())

    def facts(self) -> Text:
        if self.app.look.tree is None:
            return Text(self.app.look.trouble, "red")
        job = next((job for job in self.app.look.jobs if job.number == self._job), None)
        return Text("no longer on record") if job is None else job_facts(job, self.app.name_of_user(job.uid))

    async def follow(self) -> None:
        try:
            async for event in self.app.watching.follow(str(self._job)):
                self._tail.take_in(event)
                await asyncio.sleep(0)  # events of a program that writes without a pause come without one
        except GprocError as error:
            self._tail.say(str(error), "red")

    async def draw(self) -> None:
        log = self.query_one("#log", RichLog)
        while True:
            for line in self._tail.take_out(LINES_AT_ONCE):
                log.write(Text(line.before, "dim").append(line.text, line.style))
            await asyncio.sleep(BUSY_S if self._tail else IDLE_S)

    def action_end(self, what: str, signum: int) -> None:
        def answered(agreed: bool | None) -> None:
            if agreed:
                self.run_worker(self.end(signum))

        self.app.push_screen(Confirmation(f"{what} job {self._job} on all its nodes? (y/n)"), answered)

    async def end(self, signum: int) -> None:
        try:
            await self.app.watching.kill(str(self._job), signum)
        except GprocError as error:
            self.notify(str(error), severity="error", markup=False)
        else:
            self.notify(f"{signal.Signals(signum).name} was sent")


class Confirmation(ModalScreen[bool]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape", "dismiss(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        yield Label(self._text)
