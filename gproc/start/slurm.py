"""Inside a Slurm allocation: its nodes are reached by srun, and the master ends with it.

srun brings one command's standard input to one node, as ssh does, so secrets go the same way.  When a step of Slurm
ends, all that it started is killed, daemons too: so the step stays as long as the slave.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Collection, Mapping
from typing import Final

from gproc.locales.slurm import nodes_of_allocation as nodes_of_allocation
from gproc.start.attending import ATTENDED

SLURM: Final = "slurm"
"""The locale."""

_STEP: Final = "srun --overlap --nodes=1 --ntasks=1 --ntasks-per-node=1 --cpu-bind=none --mpi=none"

_THERE: Final = (
    'd=$(mktemp -d) && mkfifo "$d/f" || exit 1; '
    f'export {ATTENDED}="$d/f"; cat "$d/f" >/dev/null & c=$!; '
    '/bin/sh -c "$0"; s=$?; [ "$s" = 0 ] || kill "$c"; wait "$c" 2>/dev/null; rm -rf "$d"; exit "$s"'
)
"""On the node; $0 is the command.  It ends when the command has failed, or the slave that it started has ended."""

def _command(there: str) -> str:
    """For `ssh.Ways.command`.  there: what a shell on the node is told, with the command as $0."""
    here = (
        f'exec 3<&0; {_STEP} --nodelist="$0" /bin/sh -c {shlex.quote(there)} "$1" <&3 3<&- & p=$!; '
        'exec 3<&-; trap "kill $p" TERM; wait "$p"'
    )
    return f"sh -c {shlex.quote(here)}"


COMMAND: Final = _command('exec /bin/sh -c "$0"')

STARTING_COMMAND: Final = _command(_THERE)
"""One that stays as long as the slave.  If the shell here is killed, the step goes on."""

RUNS: Final = frozenset({"RUNNING", "SUSPENDED", "CONFIGURING", "RESIZING", "SIGNALING", "STOPPED"})
AGAIN_S: Final = 2.0


def is_of_allocation(hosts: Collection[str], environ: Mapping[str, str]) -> bool:
    """Whether all of them are nodes of the allocation in which this process runs."""
    return bool(hosts) and set(hosts) <= set(nodes_of_allocation(environ))


async def allocation_ended(environ: Mapping[str, str]) -> None:
    """Return when the allocation ends.  A step that waits for that is in it."""
    step: asyncio.subprocess.Process | None = None
    nothing = asyncio.subprocess.DEVNULL
    try:
        while True:
            step = await asyncio.create_subprocess_exec(
                *shlex.split(_STEP), "sleep", "infinity", stdin=nothing, stdout=nothing, stderr=nothing
            )
            await step.wait()
            if await _has_ended(environ):
                return
            await asyncio.sleep(AGAIN_S)
    finally:
        if step is not None and step.returncode is None:
            step.terminate()


async def _has_ended(environ: Mapping[str, str]) -> bool:
    """A controller that does not answer says nothing."""
    words = ("squeue", "--noheader", f"--jobs={environ.get('SLURM_JOB_ID', '')}", "--format=%T")
    pipe = asyncio.subprocess.PIPE
    asked = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    said, complaint = await asked.communicate()
    if asked.returncode == 0:
        return said.decode("ascii", "replace").strip() not in RUNS
    return b"Invalid job id" in complaint
