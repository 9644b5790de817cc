"""`gproc ps -a` and `gproc logs` of a master that has 10,000 records."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Final

from bench.figures import Figure, Settings, Yardstick, samples
from bench.tree import Done, Tree
from bench.yardsticks import bare_python
from gproc.nodespec import Place
from gproc.records.database import Changes, JobDatabase
from gproc.records.record import CommonEnd, KeptJob
from gproc.request.outcome import Returned

RECORDS: Final = 10_000
BUDGET_S: Final = 0.2


class _TreeWithRecords(Tree):
    def _start(self) -> None:
        state = self.environ["GPROC_HOME"]
        for name in ("", "state", "jobs"):
            os.mkdir(state := os.path.join(state, name), 0o700)
        database = JobDatabase(f"{state}/jobs.db")
        began_s = time.time() - RECORDS
        places = tuple(Place((1, number)) for number in range(1, 20))
        database.write(Changes([
            KeptJob(
                number=number, name="", uid=os.geteuid(), argv=(b"/bin/sh", b"-c", b"./solver --steps %d" % number),
                nodes="=1/1-19", places=places, missing="", state="ended", detached=False, spooled=False,
                started_s=began_s + number, ended_s=began_s + number + 0.5,
                endings=(CommonEnd(Returned(0), ((0, 18),)),),
            )
            for number in range(1, RECORDS + 1)
        ]))  # fmt: skip
        database.close()
        super()._start()


def measure(settings: Settings) -> Iterator[Figure]:
    with _TreeWithRecords(1, 1) as tree:
        job = tree.run("e", "-localbin", "-d", "./.", "/bin/echo", "said").output.decode().strip()
        tree.run("wait", job)
        python = Yardstick("python -c pass", samples([bare_python() for _ in range(settings.runs)]))
        for what, words in (
            ("ps -a", ("ps", "-a")), ("ps -a --json", ("ps", "-a", "--json")), ("ps", ("ps",)),
            ("logs JOB", ("logs", job)), ("logs last", ("logs", "last")),
        ):  # fmt: skip
            tree.run(*words)
            done: list[Done] = [tree.run(*words) for _ in range(settings.runs)]
            cpu_ms = 1000 * min(one.cpu_s for one in done)
            yield Figure(
                what=f"`gproc {what}` with {RECORDS:,} records", unit="s",
                measured=samples([one.wall_s for one in done]), budget=BUDGET_S, yardstick=python,
                note=f"CPU of the command: {cpu_ms:.0f} ms",
            )  # fmt: skip
