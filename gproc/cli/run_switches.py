"""The switches of `gproc e`: how a program runs, and how its output is shown.  `gproc map` shares some.  Pure."""

from __future__ import annotations

from typing import Final

from gproc.cli.kinds import ASSIGNMENT, FLAG, ONE_OF_MANY, SIZE, TEXT, choice, whole
from gproc.cli.switch import Switch
from gproc.request.limits import COUNT_MAX, CPUS_MAX, PROCS_MAX

RUN_SWITCHES: Final = (
    Switch("shell", ("e", "map"), FLAG, "COMMAND is a line for a shell: run it with /bin/sh -c.", "shell"),
    Switch(
        "require",
        ("e", "map"),
        choice("all"),
        "all: run nothing if a node that NODES means is not there.",
        "require",
        metavar="all",
    ),
    Switch(
        "fanout",
        ("e",),
        whole(1, COUNT_MAX),
        "Run on so many nodes at a time; the next one begins as one ends.",
        "fanout",
        metavar="NUMBER",
    ),
    Switch(
        "max_fail",
        ("e",),
        whole(1, COUNT_MAX),
        "With --fanout: after so many nodes have failed no more begin.",
        "max-fail",
        metavar="NUMBER",
    ),
    Switch(
        "retry_failed",
        ("e",),
        FLAG,
        "Without NODES: run your last job again where it has failed, or COMMAND.",
        "retry-failed",
        instead_of="nodes",
    ),
    Switch(
        "label", ("e", "logs", "attach"), FLAG, "Begin each line of output with its node's path.", "label", short="l"
    ),
    Switch("gather", ("e",), FLAG, "Show nodes with the same output once, together.", "gather", short="b"),
    Switch("gather_all", ("e",), FLAG, "The same for standard output and standard error.", "gather-all", short="B"),
    Switch("live", ("e",), FLAG, "With -b: show nodes as soon as no other can have the same output.", "live"),
    Switch("diff", ("e",), FLAG, "With -b: show how the others differ from the largest group.", "diff"),
    Switch("sort", ("e",), FLAG, "Show the output when all is done, in the order of the nodes.", "sort"),
    Switch(
        "outdir",
        ("e",),
        TEXT,
        "Write each node's output into files in this directory: NODE.out, NODE.err.",
        "outdir",
        metavar="DIR",
        offers="directory",
    ),
    Switch("json", ("e",), FLAG, "Print a line of JSON for each event.", "json"),
    Switch("no_stdin", ("e", "attach"), FLAG, "Give the program an empty standard input.", "no-stdin", short="n"),
    Switch("tty", ("e",), FLAG, "Give the program a terminal, shown on yours. Only with one node.", "tty", short="t"),
    Switch(
        "env",
        ("e", "map"),
        ASSIGNMENT,
        "Set a variable for the program, or with --clean-env pass one on. Repeatable.",
        "env",
        metavar="NAME[=VALUE]",
    ),
    Switch(
        "image",
        ("e", "map", "bundle"),
        TEXT,
        "Take the program and its libraries from an image: an OCI layout, an archive by podman or docker save, or SIF.",
        "image",
        metavar="PATH",
        offers="file",
    ),
    Switch(
        "collect",
        ("e",),
        ONE_OF_MANY,
        "Bring back the files that the job wrote in its working directory and that match, to ./NODE/. Repeatable.",
        "collect",
        metavar="GLOB",
    ),
    Switch("clean_env", ("e", "map"), FLAG, "Pass on only the variables of --env.", "clean-env"),
    Switch(
        "max_procs",
        ("e", "map"),
        whole(1, PROCS_MAX),
        "Processes that the job may have on each node.",
        "max-procs",
        metavar="NUMBER",
    ),
    Switch(
        "mem_bytes",
        ("e", "map"),
        SIZE,
        "Memory that the job may have on each node: 512M, 2G.",
        "mem",
        metavar="BYTES",
    ),
    Switch(
        "cpus",
        ("e", "map"),
        whole(1, CPUS_MAX),
        "Processors that the job may use on each node.",
        "cpus",
        metavar="NUMBER",
    ),
    Switch(
        "nice",
        ("e", "map"),
        whole(-20, 19),
        "The job's niceness; below 0 only for root.",
        "nice",
        metavar="NUMBER",
    ),
)
