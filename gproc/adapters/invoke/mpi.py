"""Programs of MPI: backends MPI and BLACS.  Their own mpirun starts them, and reaches the nodes by gproc-rsh.

mpirun runs on this machine, and starts a proxy on each node; the proxy starts the ranks.  The proxies are gproc jobs.
Only launchers of the Hydra family are used (MPICH, MVAPICH, Intel MPI): others take other options.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shlex
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import Final

from gproc.adapters.invoke import tied
from gproc.adapters.invoke.attributes import Invocation
from gproc.adapters.invoke.job import NOT_STARTED, Began, WorkEnd
from gproc.adapters.invoke.processes import environment_of
from gproc.adapters.invoke.redirect import OutputFiles
from gproc.adapters.rsh import SWITCHES
from gproc.client.events import Stream
from gproc.errors import EXIT_SIGNAL_BASE, EXIT_TIMED_OUT

READ_BYTES: Final = 64 << 10

VERSION_PATIENCE_S: Final = 10.0
"""How long `mpirun --version` may take; it takes 0.02 s here."""


class NoLauncher(ValueError):
    """There is no mpirun that we can use.  The text is one clause for the client."""


AGENT: Final = "gproc-rsh"


async def check_launcher(mpirun: str) -> None:
    """Raises: NoLauncher."""
    if agent() is None:
        raise NoLauncher(f"{AGENT} is neither beside this program nor in PATH: gproc is not installed as a whole")
    if shutil.which(mpirun) is None:
        raise NoLauncher(f"{mpirun} is not on this machine: programs of MPI are started by the mpirun of their MPI")
    process = await asyncio.create_subprocess_exec(mpirun, "--version", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    try:
        async with asyncio.timeout(VERSION_PATIENCE_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise NoLauncher(f"{mpirun} --version did not end within {VERSION_PATIENCE_S:g} s") from None
    if b"HYDRA" not in said and b"Intel(R) MPI" not in said:
        raise NoLauncher(f"{mpirun} is not of MPICH's family (Hydra), and gproc knows the options of no other")


class MpiProgram:
    """One program of MPI, with all of its ranks."""

    def __init__(
        self, asked: Invocation, placed: Mapping[str, int], rlimits: Mapping[int, int], socket: str | None = None
    ) -> None:
        """placed: how many ranks run on each node.  rlimits: soft limits of the ranks.  socket: of the master."""
        self._asked = asked
        self._placed = placed
        self._files_max = rlimits[resource.RLIMIT_NOFILE]
        self._socket = socket
        self._process: Process | None = None
        self._stopping = False
        self._is_silent = False

    async def run(self, began: Began, output: OutputFiles) -> WorkEnd:
        if self._stopping:
            return NOT_STARTED
        asked = self._asked
        with nullcontext(DEVNULL) if asked.stdin_file is None else open(asked.stdin_file, "rb") as stdin:  # noqa: ASYNC230
            process = self._process = await asyncio.create_subprocess_exec(
                *tied.words(launcher_words(asked, self._placed), self._files_max, asked.cpu_limit_s),
                stdin=stdin, stdout=PIPE, stderr=PIPE, start_new_session=True,
                env=environment_of(asked) | {SWITCHES: shlex.join(gproc_switches(asked, self._socket))},
            )  # fmt: skip
        if self._stopping:
            self.stop()
        began(f"{asked.mpirun} is process {process.pid}")
        try:
            async with asyncio.timeout(asked.time_limit_s):
                await self._take_output(process, output)
                await process.wait()  # it may have closed both, and go on
        except TimeoutError:
            self.stop()
            return WorkEnd(EXIT_TIMED_OUT, (f"timed out after {asked.time_limit_s:g} s",))
        finally:
            await process.wait()
        return _end_of(asked.mpirun, process.returncode or 0)

    def stop(self) -> None:
        """Kill mpirun and each gproc-rsh.  So the master ends their jobs."""
        self._stopping = True
        # As long as mpirun was not waited for, or one of them can write, the group's number is not another's.
        if self._process is not None and (self._process.returncode is None or not self._is_silent):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _take_output(self, process: Process, output: OutputFiles) -> None:
        async def take(stream: Stream, pipe: asyncio.StreamReader) -> None:
            while data := await pipe.read(READ_BYTES):
                output.write("mpirun", stream, data)

        assert process.stdout is not None and process.stderr is not None
        await asyncio.gather(take("stdout", process.stdout), take("stderr", process.stderr))
        self._is_silent = True


def agent() -> str | None:
    """The path of gproc-rsh, which is installed beside the program that we are."""
    own = (os.path.realpath(sys.argv[0]), sys.executable)
    return shutil.which(AGENT, path=os.pathsep.join([*map(os.path.dirname, own), *os.get_exec_path()]))


def launcher_words(asked: Invocation, placed: Mapping[str, int]) -> list[str]:
    """The command that starts the ranks."""
    hosts = ",".join(f"{node}:{ranks}" for node, ranks in placed.items())
    launcher = [asked.mpirun, "-launcher", "ssh", "-launcher-exec", agent() or AGENT, "-hosts", hosts]
    directory = [] if asked.directory is None else ["-wdir", asked.directory]
    ranks = ["-n", str(sum(placed.values())), *directory, *asked.mpi_options]
    return [*launcher, *ranks, asked.executable, *asked.arguments]


def gproc_switches(asked: Invocation, socket: str | None) -> list[str]:
    """The switches of `gproc e` for the proxies."""
    sent = [f"--files={file}" for file in (asked.executable, *asked.files)] if asked.staging else ["--local-bin"]
    there = [] if asked.directory is None else [f"--cwd={asked.directory}"]
    limits = (
        ("--max-procs", asked.max_procs), ("--mem", asked.mem_bytes), ("--cpus", asked.cpus), ("--nice", asked.nice),
    )  # fmt: skip
    master = [] if socket is None else [f"--socket={socket}"]
    return [*master, *sent, *there, *(f"{name}={value}" for name, value in limits if value is not None)]


def _end_of(mpirun: str, status: int) -> WorkEnd:
    if status < 0:
        return WorkEnd(EXIT_SIGNAL_BASE - status, (f"{mpirun}: killed by signal {-status}",))
    return WorkEnd(status, (f"{mpirun}: exit status {status}",)) if status else WorkEnd(0)
