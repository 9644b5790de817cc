"""`gproc top`: the tree and its jobs on a whole terminal, until q."""

from __future__ import annotations

import sys

from gproc.cli.absent import user_of
from gproc.cli.options import TopOptions
from gproc.cli.trace import Trace
from gproc.client.watching import Watching
from gproc.errors import GprocError, UsageError


def run(options: TopOptions) -> int:
    try:
        from gproc.top.app import TopApp
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("gproc"):
            raise
        raise GprocError(f"gproc top needs {error.name}: pip install 'gproc[top]'") from error
    Trace(options.debug).step(f"shows the tree of the master at {options.socket}")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("gproc top draws on a terminal, and this is none: use gproc i and gproc ps")
    watching = Watching(options.socket)
    try:
        app = TopApp(watching, user_of)
        app.run()
    finally:
        watching.close()
    return app.return_code or 0
