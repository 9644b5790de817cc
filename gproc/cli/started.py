"""A slave that `gproc start` started: its commission comes in a pipe, and it has no terminal.

The static helper starts it (native/tending.h).  Until it has joined, its messages go to the front end.  Then the front
end hears that the slave is ready, and the slave writes the rest to its log file.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from gproc.cli.options import SlaveOptions
from gproc.descriptors import allow_all
from gproc.errors import GprocError
from gproc.launch.launcher import Launcher
from gproc.start.attending import attend

if TYPE_CHECKING:
    from collections.abc import Callable

    from gproc.cli.log import HeldLog
    from gproc.slave import Slave

_SECRET: Final = 3
_READY: Final = 4
_LOCK: Final = 5
_LOG: Final = 6
"""Descriptors: native/tending.h."""


def run() -> int:
    attend(os.environ)
    for descriptor in (_SECRET, _READY, _LOCK, _LOG):
        os.set_inheritable(descriptor, False)
    content = _read_to_end(_SECRET)
    allow_all()
    launcher = Launcher.for_this_node(private=True, native=os.environ.get("GPROC_INIT") != "python")
    try:
        return _run(content, launcher)
    finally:
        launcher.close()


def _run(content: bytes, launcher: Launcher) -> int:
    from gproc.cli.log import HeldLog, start_log
    from gproc.cli.slave import serve
    from gproc.locales import Placement
    from gproc.start.commission import ANSWER, Commission
    from gproc.store.opening import usable_base
    from gproc.trust.carried import identity_in_memory

    try:
        told = Commission.decoded(content)
    except ValueError as error:
        raise GprocError(f"what the front end sent is no commission: {error}") from error
    start_log(told.debug)
    held = HeldLog()
    # The directory of the runtime is one in which something can be written, in any case.
    store = usable_base(os.environ, os.path.join(os.path.dirname(sys.prefix), "store"))
    options = SlaveOptions(store=store, bin_root=told.bin_root, cmd_port=told.cmd_port, debug=told.debug)
    placement = Placement(id=told.id, address=told.address, parent=told.parent)

    def joining() -> None:
        held.dial()
        print(f"{ANSWER}joining", flush=True)

    serve(options, launcher, placement, identity_in_memory(told.credentials), _tell_readiness(held), joining=joining)
    return 0


def _tell_readiness(held: HeldLog) -> Callable[[Slave], None]:
    """Called each time that the slave has joined; it does something the first time."""
    waiting = [_READY]

    def joined(slave: Slave) -> None:
        if not waiting:
            return
        ready = waiting.pop()
        os.dup2(_LOG, 1)
        os.dup2(_LOG, 2)
        held.release()
        os.write(ready, b"%d" % slave.children.port)
        os.close(ready)

    return joined


def _read_to_end(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()
