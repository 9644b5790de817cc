"""The console script `gproc-rsh [OPTIONS] HOST COMMAND...`: a command on a node, for programs that expect rsh or ssh.

It is `gproc e --shell =NODE COMMAND`.  Options of ssh(1) are read and dropped.  Further switches of `gproc e` may be in
the variable GPROC_RSH, quoted as in a shell: launchers of MPI have no other way to pass them.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import gproc
from gproc.__main__ import run as run_gproc
from gproc.adapters.invoke.placement import NoSuchNode, nodes_meant
from gproc.descriptors import open_standard_descriptors
from gproc.errors import EXIT_GPROC, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND
from gproc.root import kernel

SWITCHES: Final = "GPROC_RSH"

TIED: Final = "GPROC_RSH_TIED"
"""If this variable is set, it is the number of a launcher: we are killed if the process that started us dies, and do
nothing if the launcher is gone already."""

NEVER_RAN: Final = frozenset({EXIT_GPROC, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND})
"""Statuses after which a launcher is ended: Hydra waits for ever for a proxy that was not started."""

WITH_VALUE: Final = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
"""Options of ssh(1) that take a value, in the same word or in the next."""


def main() -> int:
    """Returns the exit status, which is that of `gproc e`."""
    open_standard_descriptors()
    launcher = os.environ.get(TIED)
    if launcher is not None:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if not os.path.exists(f"/proc/{launcher}"):
            return EXIT_GPROC
    try:
        sys.argv[1:] = command_line(sys.argv[1:], os.environ)
    except (gproc.GprocError, NoSuchNode) as error:
        sys.stderr.write(f"gproc-rsh: {error}\n")
        status = getattr(error, "exit_status", EXIT_GPROC)
    else:
        status = run_gproc()
    if launcher is not None and status in NEVER_RAN:
        with suppress(ProcessLookupError):
            os.kill(int(launcher), signal.SIGTERM)
    return status


def command_line(words: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The words of `gproc` for these words of ours.  Raises: UsageError; NoSuchNode, GprocError for a host's name."""
    host, command = split(words)
    try:
        switches = shlex.split(environ.get(SWITCHES, ""))
    except ValueError as error:
        raise gproc.UsageError(f"{SWITCHES} is not quoted as for a shell: {error}") from error
    return ["e", "--shell", *switches, f"={place_of(host)}", *command]


def split(words: Sequence[str]) -> tuple[str, list[str]]:
    """The host and the command.  Raises: UsageError if one of them is missing."""
    left = list(words)
    while left and left[0].startswith("-"):
        letters = left.pop(0)[1:]
        if letters == "-":
            break
        for index, letter in enumerate(letters):
            if letter in WITH_VALUE:
                del left[: index == len(letters) - 1]
                break
    if len(left) < 2:
        raise gproc.UsageError("usage: gproc-rsh [OPTIONS] HOST COMMAND...")
    return left[0].rpartition("@")[2], left[1:]


def place_of(host: str) -> str:
    """The place of a node.  The master is asked only if the host is no place itself."""
    if re.fullmatch(r"[0-9]+(/[0-9]+)*", host):
        return host
    with gproc.connect() as cluster:
        return nodes_meant(host, 0, cluster.info())[0].node


if __name__ == "__main__":
    sys.exit(main())
