"""`gproc web`: serves a page that shows the tree and its jobs, until Ctrl-C."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Final

from gproc.cli.absent import user_of
from gproc.cli.options import WebOptions
from gproc.cli.stderr import complain
from gproc.cli.trace import Trace
from gproc.client.watching import Watching
from gproc.errors import GprocError, UsageError
from gproc.shown import shown_text
from gproc.trust.home import SECRET_MODE, check_private, gproc_home, read_file, write_file

_TOKEN_CHARACTERS_MIN: Final = 16


def run(options: WebOptions) -> int:
    try:
        from gproc.web.access import TokenCheck, new_token
        from gproc.web.app import application
        from gproc.web.serving import Listen, open_listener, serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("gproc"):
            raise
        raise GprocError(f"gproc web needs {error.name}: pip install 'gproc[web]'") from error
    listen = Listen.parse(options.listen)
    trace = Trace(options.debug)
    token = _kept(options.token_file, new_token) if options.token_file else new_token()
    access = TokenCheck("" if listen.path else token)
    watching = Watching(options.socket, lambda text: complain([text]))
    listener = open_listener(listen)
    trace.step(f"listens at {listener.getsockname()}, and asks the master at {options.socket} when a browser asks")
    app = application(watching, access, user_of, control=options.control)

    def ready() -> None:
        if listen.path:
            print(f"serving at {listen.path}")
        else:
            host = socket.gethostname() if listen.host in ("0.0.0.0", "::") else listen.host
            host = f"[{host}]" if ":" in host else host
            scheme = "https" if listen.secure else "http"
            place = f"{scheme}://{host}:{listener.getsockname()[1]}/#token="
            if options.token_file and not sys.stdout.isatty():
                # A token that stays for good must not stand in the journal of a service, which others may read.
                print(f"open {place} with the token in {shown_text(options.token_file)} behind it")
            else:
                print(f"open {place}{access.token}")
        sys.stdout.flush()

    try:
        serve(app, listener, listen, gproc_home(os.environ), ready)
    finally:
        watching.close()
        listener.close()
        if listen.path:
            os.unlink(listen.path)
    return 0


def _kept(path: str, new: Callable[[], str]) -> str:
    """The token in a file that only this user can read; a new one is written if there is no such file."""
    if not os.path.lexists(path):
        write_file(path, new().encode() + b"\n", SECRET_MODE)
    check_private(path)
    token = read_file(path).decode("ascii", "replace").strip()
    if len(token) < _TOKEN_CHARACTERS_MIN:
        raise UsageError(f"--token-file {path}: a token has at least {_TOKEN_CHARACTERS_MIN} characters")
    return token
