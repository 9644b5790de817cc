"""The switches of `gproc map` alone.  Pure."""

from __future__ import annotations

from typing import Final

from gproc.cli.kinds import FLAG, SECONDS, TEXT, whole
from gproc.cli.switch import Switch
from gproc.request.limits import COUNT_MAX, SLOTS_MAX

MAP_SWITCHES: Final = (
    Switch(
        "per_node",
        ("map",),
        whole(1, SLOTS_MAX),
        "Run so many tasks on a node at a time. [default: as many as it has processors]",
        "jobs",
        short="j",
        metavar="NUMBER",
    ),
    Switch(
        "arg_file",
        ("map",),
        TEXT,
        "Read the list from this file; - is standard input.",
        "arg-file",
        short="a",
        metavar="FILE",
        offers="file",
    ),
    Switch("null", ("map",), FLAG, "Zero bytes end the entries of the list: find -print0.", "null", short="0"),
    Switch(
        "keep_order",
        ("map", "logs"),
        FLAG,
        "Print the output of tasks in the order of the list.",
        "keep-order",
        short="k",
    ),
    Switch("ungroup", ("map",), FLAG, "Print output as it comes, of several tasks mixed.", "ungroup", short="u"),
    Switch("tag", ("map", "logs"), FLAG, "Begin each line of output with the task's line of the list.", "tag"),
    Switch(
        "task_timeout_s",
        ("map",),
        SECONDS,
        "End a task that runs for longer; it has failed.",
        "timeout",
        metavar="SECONDS",
    ),
    Switch(
        "max_fail",
        ("map",),
        whole(1, COUNT_MAX),
        "After so many tasks have failed no more begin.",
        "max-fail",
        metavar="NUMBER",
    ),
    Switch(
        "joblog",
        ("map", "logs"),
        TEXT,
        "Write a line for each task to this file, as GNU parallel does.",
        "joblog",
        metavar="FILE",
        offers="file",
    ),
)
