"""Asks the master for the tree, over a connection of its own."""

from __future__ import annotations

import time

from gproc.client.driver import PollDriver
from gproc.client.session import TreeAnswer
from gproc.wire.messages import TreeState


def inquire(socket_path: str, timeout_s: float | None = None, *, waits: bool = True) -> TreeState:
    """The tree as the master knows it, with the load of each node that answers in time.  waits: as for `Connection`.

    Raises: GprocError; MasterSilent also if the master says nothing for timeout_s.
    """
    driver = PollDriver(socket_path, waits=waits)
    try:
        serial = driver.session.inquire()
        while True:
            before_s = time.monotonic()
            driver.wait(timeout_s=timeout_s)
            if timeout_s is not None and time.monotonic() - before_s >= timeout_s:
                raise driver.connection.silence(timeout_s)
            for event in driver.events():
                if isinstance(event, TreeAnswer) and event.state.serial == serial:
                    return event.state
    finally:
        driver.close()
