"""The tree, asked for over a connection of its own."""

from __future__ import annotations

from gproc.client.driver import PollDriver
from gproc.client.session import TreeAnswer
from gproc.wire.messages import TreeState


def inquire(socket_path: str) -> TreeState:
    """The tree as the master knows it, with the load of each node that answers in time.  Raises: GprocError."""
    driver = PollDriver(socket_path)
    try:
        serial = driver.session.inquire()
        while True:
            driver.wait()
            for event in driver.events():
                if isinstance(event, TreeAnswer) and event.state.serial == serial:
                    return event.state
    finally:
        driver.close()
