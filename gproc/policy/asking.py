"""Asks PAM about accounts for an event loop, which goes on meanwhile.

Each question has a process of its own (`gproc.policy.account`), with bounds: how long it may take, how many there are
at a time, and one for each user, so that a user whose account is slow to be judged holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Final

from gproc import interpreter
from gproc.policy.rules import PolicyRefused
from gproc.shown import shown

ANSWER_S: Final = 10.0
"""A name service that asks a server over the network gives up after some seconds."""

MORE_S: Final = 5.0
"""More seconds, for a machine that is too busy to tell us that the time is over."""

AT_ONCE: Final = 8

REMEMBERED_S: Final = 2.0
"""Seconds for which a good answer counts: a user may start many jobs in a row.  A closed account goes on for so long at
most."""

KNOWN_MAX: Final = 10_000

SAID_BYTES_MAX: Final = 4096


class AccountDesk:
    """What PAM says of users."""

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._asking: dict[tuple[str, int], asyncio.Task[str]] = {}
        self._fine: dict[tuple[str, int], float] = {}
        """Until when an account need not be asked about again, by time.monotonic()."""
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def check(self, service: str, uid: int) -> None:
        """Raises: PolicyRefused in PAM's words, or if it does not answer."""
        key = (service, uid)
        if self._fine.get(key, 0.0) > time.monotonic():
            return
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(service, uid))
            task.add_done_callback(lambda _: self._asking.pop(key))
        if why := await asyncio.shield(task):
            raise PolicyRefused(f"PAM ({service}) does not let uid {uid} in: {why}")
        if len(self._fine) >= KNOWN_MAX:
            self._fine.clear()
        self._fine[key] = time.monotonic() + REMEMBERED_S

    async def _ask(self, service: str, uid: int) -> str:
        """Why the account may not be used; "" if it may."""
        from gproc.policy.account import REFUSED, TOO_LATE  # here, because most daemons ask nobody

        async with self._turns:
            words = [*interpreter.command(), "-I", "-S", _program(), service, str(uid), str(self._answer_s)]
            try:
                process = await asyncio.create_subprocess_exec(
                    *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL, env={"PATH": os.defpath}, cwd="/", start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                return f"it cannot be asked: {error.strerror}"
            assert process.stdout is not None
            status = TOO_LATE
            try:
                async with asyncio.timeout(self._answer_s + MORE_S):
                    said = await process.stdout.read(SAID_BYTES_MAX)
                    status = await process.wait()
            except TimeoutError:
                pass
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()  # then it ends what it has started
        if status == TOO_LATE:
            return f"it does not answer within {self._answer_s:g} s"
        if status == 0:
            return ""
        return shown(said) if status == REFUSED and said else "a module of it crashed"


def _program() -> str:
    """The file to run.  A runtime has it compiled, with the same suffix as this one."""
    return os.path.join(os.path.dirname(__file__), "account" + os.path.splitext(__file__)[1])
