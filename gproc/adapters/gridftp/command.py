"""`gproc-gridftp-master`: the program that gfork runs as the master of GridFTP servers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from gproc.adapters.gfork.peers import Master
from gproc.adapters.gfork.switches import help_of
from gproc.adapters.gridftp.backends import Backends
from gproc.adapters.gridftp.datanode import Registrant
from gproc.adapters.gridftp.frontend import GridftpServers, Registrar
from gproc.adapters.gridftp.journal import log, start_log
from gproc.adapters.gridftp.memory import MemoryPool
from gproc.adapters.gridftp.options import SWITCHES, RegistryOptions, master_options
from gproc.adapters.gridftp.security import own_identity
from gproc.descriptors import open_standard_descriptors
from gproc.environment import undo_locale_coercion
from gproc.errors import GprocError
from gproc.interpreter import prepare
from gproc.shown import reason_of, shown_text

_USAGE: Final = """\
usage: gproc-gridftp-master [SWITCH VALUE]...
The master of GridFTP servers: gfork runs it.  Without -b it is a front end's: data nodes register with it.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 if gfork ended, 2 for a wrong command line, else 125."""
    open_standard_descriptors()
    if argv is None:
        prepare()
    undo_locale_coercion()
    try:
        options = master_options(sys.argv[1:] if argv is None else argv)
        if options.wants_help:
            sys.stdout.write(help_of(_USAGE, SWITCHES))
            return 0
        start_log(options.log_file)
        asyncio.run(_run(options))
    except GprocError as error:
        return _failed(str(error), error.exit_status)
    except OSError as error:
        return _failed(reason_of(error), GprocError.exit_status)
    except KeyboardInterrupt:
        return 130
    return 0


def _failed(text: str, status: int) -> int:
    log.error("%s", shown_text(text))
    sys.stderr.write(f"gproc-gridftp-master: {shown_text(text, keep=chr(10))}\n")
    return status


async def _run(options: RegistryOptions) -> None:
    async with Master() as master:
        own = own_identity() if options.is_secure else None
        if options.names_file is not None and own is None:
            log.error("-df has no effect with -G n: nobody shows a name")
        pool = None
        if options.memory_bytes is not None:
            pool = MemoryPool(options.memory_bytes or _physical_memory_bytes(), options.sharers)
        backends = Backends() if options.frontend is None else None
        servers = GridftpServers(master, backends, options.stripes, pool)
        if backends is not None:
            door = Registrar(options, backends, servers, own).listen()
            try:
                await _until_end(servers)
            finally:
                door.close()
        else:
            assert options.frontend is not None
            registrant = Registrant(options.frontend, master.contact, own)
            registering = asyncio.ensure_future(registrant.run(options.interval_s))
            await _until_end(servers)
            registering.cancel()
            await registrant.leave()


async def _until_end(servers: GridftpServers) -> None:
    """Serve until gfork ends, or ends this master by a signal."""
    serving = asyncio.ensure_future(servers.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    with suppress(asyncio.CancelledError):
        await serving


def _physical_memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
