"""Runs the verb that the command line asks for, and makes one sentence and an exit status of an error.

`gproc e` starts here thousands of times a day: so only the parser and its tables are imported, and then one verb.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Final, Protocol

from gproc.cli.options import (
    Command,
    CompletionQuestion,
    CompletionRequest,
    HelpRequest,
    ModeOptions,
    StartedRequest,
    VersionRequest,
)
from gproc.cli.stderr import complain
from gproc.collecting import collect_from_now_on
from gproc.errors import EXIT_GPROC, EXIT_SIGNAL_BASE, GprocError
from gproc.shown import reason_of

STARTED_NAME: Final = "__started"
"""The hidden command of a slave that the helper's bootstrap starts: gproc.cli.started."""

SLAVE: Final = "slave"
"""It imports the rest when its launcher is there, and turns the collector on itself."""

_SIGINT: Final = 2
_SIGPIPE: Final = 13
_TRACEBACK_DEBUG: Final = 5
"""From this -debug level on, an error shows where it was raised."""


class _Verb(Protocol):
    """A module gproc.cli.<mode>: does what the options ask and returns the exit status."""

    def run(self, options: ModeOptions) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Do what argv (default: sys.argv without the program) asks.  Returns the exit status: docs/reference.md."""
    debug = 0
    try:
        command = _parsed(sys.argv[1:] if argv is None else argv)
        debug = getattr(command, "debug", 0)
        status = _run(command)
        # Here, because at interpreter exit Python would complain on stderr if the reader is gone.
        if sys.stdout is not None:  # None: the process that started us had closed it
            sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_SIGNAL_BASE + _SIGINT
    except GprocError as error:
        return _failed(str(error), error.exit_status, debug)
    except BrokenPipeError as error:
        if not _stdout_has_no_reader():
            return _failed(reason_of(error), EXIT_GPROC, debug)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SIGNAL_BASE + _SIGPIPE
    except OSError as error:
        return _failed(reason_of(error), EXIT_GPROC, debug)
    except MemoryError:
        return _failed(os.strerror(errno.ENOMEM), EXIT_GPROC, debug)
    except Exception:  # noqa: BLE001 - a bug: Python's own status 1 would look like the program's
        return _failed("this is a bug in gproc; please report it with the lines above", EXIT_GPROC, debug=10)
    return status


def _parsed(words: Sequence[str]) -> Command:
    """Raises: UsageError."""
    if list(words) == [STARTED_NAME]:
        return StartedRequest()  # without the parser: many nodes start at a time
    from gproc.cli.defaults import defaults_of
    from gproc.cli.parse import parse

    return parse(words, defaults_of)


def _run(command: Command) -> int:
    match command:
        case HelpRequest(mode=mode):
            from gproc.cli.help import show

            return show(mode)
        case VersionRequest():
            from gproc import __version__

            print(f"gproc {__version__}")
            return 0
        case CompletionRequest(arguments=arguments):
            from gproc.cli.installing import run

            return run(arguments)
        case CompletionQuestion(words=words):
            from gproc.cli.completing import answer

            return answer(words)
        case StartedRequest():
            from gproc.cli import started

            return started.run()
        case _:
            return _verb(command).run(command)


def _verb(options: ModeOptions) -> _Verb:
    from importlib import import_module

    from gproc.cli.modes import MODES

    name = next(mode.name for mode in MODES if mode.options is type(options))
    verb: _Verb = import_module(f"gproc.cli.{name}")
    if name != SLAVE:
        collect_from_now_on()
    return verb


def _failed(message: str, status: int, debug: int) -> int:
    if debug >= _TRACEBACK_DEBUG:
        import traceback

        traceback.print_exc()
    complain([message])
    return status


def _stdout_has_no_reader() -> bool:
    """Whether stdout is the broken pipe, and not a socket: then we say nothing, as `yes | head` does."""
    import select

    if sys.stdout is None:
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))
