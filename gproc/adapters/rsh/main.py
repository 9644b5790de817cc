"""The console script `gproc-rsh [OPTIONS] [USER@]HOST [COMMAND...]`.

Without the variable GPROC_RSH it is a session on the node, among the node's own files.  With it, it is
`gproc e --shell SWITCHES =NODE COMMAND`, where the variable has the switches, quoted as in a shell: launchers of MPI
have no other way to have their program sent.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import gproc
from gproc.adapters.invoke.placement import NoSuchNode, nodes_meant
from gproc.adapters.rsh import SWITCHES, TIED, login
from gproc.adapters.rsh.words import SshWords, words_of
from gproc.cli import exec as execute
from gproc.cli.foreground import Foreground
from gproc.cli.options import ExecOptions
from gproc.cli.parse import parse
from gproc.cli.stderr import complain
from gproc.client.finding import default_socket
from gproc.descriptors import open_standard_descriptors
from gproc.environment import undo_locale_coercion
from gproc.errors import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND
from gproc.interpreter import prepare
from gproc.request.outcome import Returned
from gproc.request.spec import TerminalSize
from gproc.root import kernel
from gproc.shown import reason_of

if TYPE_CHECKING:
    from gproc.client.terminal import LentTerminal

FAILED: Final = 255
"""The status of a failure of our own, as of ssh(1)."""

NEVER_RAN: Final = frozenset({FAILED, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND})
"""Statuses after which a launcher is ended: Hydra waits for ever for a proxy that was not started."""


class LikeSsh(execute.Manner):
    """Only what the program says is shown, and its status is ours; all else is a failure of our own.

    reads_nothing: our input is for others, such as the shell's loop that we are in.
    """

    def __init__(self, *, reads_nothing: bool) -> None:
        self._reads_nothing = reads_nothing

    def terminal(self, options: ExecOptions) -> tuple[TerminalSize, LentTerminal | None]:
        """With -tt a terminal is given even if there is none here."""
        return super().terminal(options) if os.isatty(0) else (execute.NO_TERMINAL, None)

    def stdin(self, options: ExecOptions) -> int | None:
        """Also if it is a terminal: lines are read from it, as ssh does."""
        if self._reads_nothing and not os.isatty(0):
            return None
        found = super().stdin(options)
        return 0 if found is None and not options.no_stdin and os.isatty(0) else found

    def conclude(self, foreground: Foreground, status: int, lines: list[str]) -> int:
        outcome = next(iter(foreground.job.outcomes.values()), None)
        if isinstance(outcome, Returned) and foreground.problem is None:
            return outcome.status
        foreground.conclude(status, lines)
        return FAILED


def main() -> int:
    """Returns the exit status: the command's own, or 255 if it could not be run, or if it is not known how it ended."""
    open_standard_descriptors()
    prepare()
    undo_locale_coercion()
    launcher = os.environ.get(TIED)
    if launcher is not None:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if not os.path.exists(f"/proc/{launcher}"):
            return FAILED
    try:
        words = words_of(sys.argv[1:])
        if words.version:
            sys.stderr.write(f"gproc-rsh {gproc.__version__}\n")
            return 0
        status = execute.run(options_of(words, os.environ), LikeSsh(reads_nothing=words.no_stdin))
    except KeyboardInterrupt:
        return FAILED
    except (gproc.GprocError, NoSuchNode, OSError) as error:
        complain([reason_of(error)])
        status = FAILED
    except Exception:  # noqa: BLE001 - a bug: Python's own status 1 would look like the command's
        traceback.print_exc()
        complain(["this is a bug in gproc; please report it with the lines above"])
        status = FAILED
    if launcher is not None and status in NEVER_RAN:
        with suppress(ProcessLookupError):
            os.kill(int(launcher), signal.SIGTERM)
    return status


def options_of(words: SshWords, environ: Mapping[str, str]) -> ExecOptions:
    """What `gproc e` is asked for.  Raises: UsageError; NoSuchNode, GprocError for a host's name."""
    user = other_user(words.user)
    switches = environ.get(SWITCHES)
    terminal = wants_terminal(words)
    no_stdin = words.no_stdin and not terminal
    if switches is not None:
        if user or words.subsystem or not words.command:
            raise gproc.UsageError(f"{SWITCHES} is set, so there must be a command, and it runs as you")
        return sent(words, switches, terminal=terminal, no_stdin=no_stdin)
    kind = login.SFTP if words.subsystem else login.COMMAND if words.command else login.SHELL
    return ExecOptions(
        nodes=f"={place_of(words.host)}",
        command=login.session(kind, words.command, user),
        socket=default_socket(),
        local_bin=True,
        cwd="/",
        clean_env=True,
        env=tuple(name for name in environ if is_sent(name, terminal=terminal)),
        tty=terminal,
        no_stdin=no_stdin,
    )


def sent(words: SshWords, switches: str, *, terminal: bool, no_stdin: bool) -> ExecOptions:
    """The same by the switches of GPROC_RSH.  Raises: UsageError; NoSuchNode, GprocError."""
    try:
        given = shlex.split(switches)
    except ValueError as error:
        raise gproc.UsageError(f"{SWITCHES} is not quoted as for a shell: {error}") from error
    ours = [*(["--tty"] if terminal else []), *(["--no-stdin"] if no_stdin else [])]
    socket = default_socket()
    options = parse(
        ["e", "--shell", *ours, *given, f"={place_of(words.host)}", words.command], lambda _mode: {"socket": socket}
    )
    if not isinstance(options, ExecOptions):
        raise gproc.UsageError(f"{SWITCHES} may have switches of `gproc e` only")
    return options


def wants_terminal(words: SshWords) -> bool:
    """As ssh: if it is asked for, or if there is no command; and only if there is one here, or with -tt."""
    asked = not (words.command or words.subsystem) if words.terminal is None else words.terminal
    return asked and (words.forced or os.isatty(0))


def other_user(user: str) -> str:
    """The empty text if it is the caller.  Raises: UsageError if it is another user and the caller is not root."""
    if not user or user in (pwd.getpwuid(os.geteuid()).pw_name, str(os.geteuid())):
        return ""
    if os.geteuid():
        raise gproc.UsageError(f"-l {user}: a job runs as who asks for it, unless that is root: leave the user out")
    return user


def is_sent(name: str, *, terminal: bool) -> bool:
    """Whether a variable goes along: those that Debian's ssh sends."""
    return name == "LANG" or name.startswith("LC_") or (terminal and name == "TERM")


def place_of(host: str) -> str:
    """The place of a node.  The master is asked only if the host is no place itself.

    `1.7` is node 1/7: for rsync, git and scp, what has a slash before its colon is a file of this machine.
    """
    if re.fullmatch(r"[0-9]+(/[0-9]+)*|[0-9]+(\.[0-9]+){1,2}", host):
        return host.replace(".", "/")
    with gproc.connect() as cluster:
        return nodes_meant(host, 0, cluster.info())[0].node


if __name__ == "__main__":
    sys.exit(main())
