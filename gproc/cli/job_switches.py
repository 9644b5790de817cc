"""The switches about jobs that outlive their clients.  Pure."""

from __future__ import annotations

from typing import Final

from gproc.cli.kinds import END_OR_DETACH, FLAG, JOB_NAME, SIGNAL
from gproc.cli.switch import Switch

JOB_SWITCHES: Final = (
    Switch(
        "detach",
        ("e", "map"),
        FLAG,
        "Print the job's number and return; the job goes on, and its output is kept.",
        "detach",
        short="d",
    ),
    Switch("name", ("e", "map"), JOB_NAME, "Give the job a name.", "name", metavar="NAME"),
    Switch("spool", ("e",), FLAG, "Keep the job's output for gproc logs.", "spool"),
    Switch(
        "on_disconnect",
        ("e", "map"),
        END_OR_DETACH,
        "What becomes of the job if this command dies: 'detach' lets it go on. [default: end]",
        "on-disconnect",
        metavar="WHAT",
    ),
    Switch("follow", ("logs",), FLAG, "Go on until the job ends.", "follow", short="f"),
    Switch("times", ("logs",), FLAG, "Begin each line with its time.", "times", short="t"),
    Switch("debugger", ("stacks",), FLAG, "Also by gdb, which stops each process for a moment.", "gdb"),
    Switch("json", ("stacks",), FLAG, "Print JSON for programs instead of a tree.", "json"),
    Switch("signal", ("kill",), SIGNAL, "Which signal: INT, KILL, USR1, 9.", "signal", short="s", metavar="SIGNAL"),
)
