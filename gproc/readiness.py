"""What a service manager is told: sd_notify(3) and sd_watchdog_enabled(3), without a library of systemd's.

The manager that started this process with `NOTIFY_SOCKET` hears when it is ready, what it does, that it lives, and that
it ends.
The variables are taken out of the environment at once, because processes that are started from here, above all jobs,
must not speak for this one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

LOOK_S: Final = 5.0
"""Seconds: a status is at most so old."""

_STATUS_BYTES_MAX: Final = 400
_LAST_WORD_US: Final = 500_000
"""Microseconds for which the message of our end waits for room in the queue of a busy manager."""
_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


def end_undisturbed() -> None:
    """Hear no further signal to end: while an event loop is closed, Python would write a traceback for one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


class ServiceManager:
    """The manager.  address: "" if there is none.  watchdog_s: the seconds within which it wants to hear that we live;
    0: never."""

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = address
        self._watchdog_s = watchdog_s
        self._status = ""
        """What it was told last."""
        self._owed: list[str] = []
        """The messages, except a status, for which it had no room."""

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """The manager that the environment's variables name; these are removed."""
        address, period, pid = (environ.pop(name, "") for name in _VARIABLES)
        if not address.startswith(("/", "@")):
            return cls()
        mine = pid in ("", str(os.getpid()))
        microseconds = int(period) if mine and period.isascii() and period.isdigit() and len(period) < 18 else 0
        return cls(address, microseconds / 1e6)

    def ready(self, status: str) -> None:
        """We serve.  A second call only changes the status."""
        self._owed = ["READY=1"]
        self._tell_news(status)

    def stopping(self) -> None:
        """We end.  There is no later time to say so, so this waits for a full queue, but not for long."""
        self._tell("STOPPING=1", wait_us=_LAST_WORD_US)

    async def keep_telling(self, status: Callable[[], str]) -> None:
        """Say that we live, and what we do if that has changed, until this is cancelled.

        From the event loop: a process whose loop stands still lives no more.
        """
        import asyncio

        if not self._address:
            return
        period_s = min(LOOK_S, self._watchdog_s / 2) if self._watchdog_s else LOOK_S
        while True:
            self._tell_news(status(), "WATCHDOG=1" if self._watchdog_s else "")
            await asyncio.sleep(period_s)

    def _tell_news(self, status: str, alive: str = "") -> None:
        lines = [*self._owed, *([_line(status)] if status != self._status else []), *([alive] if alive else [])]
        if lines and self._tell(*lines):
            self._owed, self._status = [], status

    def _tell(self, *lines: str, wait_us: int = 0) -> bool:
        """Returns whether the manager took that.  wait_us: microseconds to wait if its queue is full."""
        if not self._address:
            return True
        import socket

        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        flags = 0 if wait_us else socket.MSG_DONTWAIT
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as own:
            if wait_us:
                _bound_sending(own, wait_us)
            try:
                own.sendto("\n".join(lines).encode(), flags, address)
            except BlockingIOError:  # its queue is full
                return False
            except OSError:
                return True
        return True


def _bound_sending(own: socket.socket, wait_us: int) -> None:
    """The kernel's own limit: poll(2), which `settimeout` uses, does not look at the queue of the other end."""
    import socket
    import struct

    own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *divmod(wait_us, 1_000_000)))


def _line(status: str) -> str:
    printable = "".join(character if character.isprintable() else "?" for character in status)
    return f"STATUS={printable[:_STATUS_BYTES_MAX]}"
