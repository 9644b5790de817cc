"""Removes what jobs have made because their caller named it as binRoot (`--bin-root`).

The slave may be root, and root touches no path that a user named.  So a process with the caller's rights does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Final

from gproc import interpreter
from gproc.request.spec import Caller
from gproc.root.binroot import give_back

PATIENCE_S: Final = 10.0
"""How long the file systems on the path may take."""

AT_ONCE: Final = 4
"""How many are removed at a time.  The others wait, and stay if the slave ends before."""

_AS_CALLER: Final = """
import os, sys
from gproc.root.binroot import give_back
uid, gid, *groups = map(int, sys.argv[2:])
os.setgroups(groups)
os.setresgid(gid, gid, gid)
os.setresuid(uid, uid, uid)
give_back(os.fsencode(sys.argv[1]), uid)
"""


class NamedBinRoots:
    """Of one slave."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def give_back(self, path: bytes, caller: Caller) -> None:
        """Remove the directory, and those above it that were made for it, if no job has them.  It does not wait."""
        task = asyncio.create_task(self._give_back(path, caller))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _give_back(self, path: bytes, caller: Caller) -> None:
        async with self._turns:
            if os.geteuid() == 0:
                await _in_a_process(path, caller)
            else:  # it runs only its own user's jobs
                await asyncio.to_thread(give_back, path, caller.uid)


async def _in_a_process(path: bytes, caller: Caller) -> None:
    rights = map(str, (caller.uid, caller.gid, *caller.groups))
    try:
        process = await asyncio.create_subprocess_exec(
            *interpreter.command(), "-c", _AS_CALLER, path, *rights, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
    except OSError:
        return  # no process can be had now: the directory stays
    try:
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
