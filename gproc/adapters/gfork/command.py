"""`gfork`: its command line, the configuration that it names, and what --check says of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from gproc import __version__
from gproc.adapters.gfork.grammar import MAX_FILE_BYTES, ConfigLine, Origin, Parsed, parse
from gproc.adapters.gfork.keys import KEYS, Kind
from gproc.adapters.gfork.settings import Configured, ServiceSettings, settings_of
from gproc.adapters.gfork.switches import CommandSwitch, help_of, read_switches
from gproc.descriptors import open_standard_descriptors
from gproc.environment import undo_locale_coercion
from gproc.errors import EXIT_SIGNAL_BASE, GprocError, UsageError
from gproc.interpreter import prepare
from gproc.shown import reason_of, shown_text

DEFAULT_FILE: Final = "/etc/gfork.conf"

SWITCHES: Final = tuple(
    CommandSwitch((key.name, key.short) if key.short else (key.name,), key.metavar, key.help)
    for key in KEYS
    if key.kind is not Kind.IGNORED
)

_USAGE: Final = """\
usage: gfork -c FILE [SWITCH VALUE]...
Listen at a port, run a program for each connection, and link all of them to a master program that stays.
What a switch says holds, and else what the file says.  docs/gfork.md is the guide.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what argv asks.  Returns the exit status: 0, 2 for a command line or a file that cannot be used, else 125."""
    open_standard_descriptors()
    if argv is None:
        prepare()
    undo_locale_coercion()
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except GprocError as error:
        complain(str(error))
        return error.exit_status
    except OSError as error:
        complain(reason_of(error))
        return GprocError.exit_status
    except KeyboardInterrupt:
        return EXIT_SIGNAL_BASE + 2


def complain(text: str) -> None:
    sys.stderr.write(f"gfork: {shown_text(text, keep=chr(10))}\n")


def _run(argv: Sequence[str]) -> int:
    found = read_switches(argv, SWITCHES)
    named = dict(found)
    if "help" in named:
        sys.stdout.write(help_of(_USAGE, SWITCHES))
        return 0
    if "version" in named:
        sys.stdout.write(f"gfork (gproc {__version__})\n")
        return 0
    switches = [ConfigLine(name, "=", value, Origin(f"-{name}", 0, 1, "")) for name, value in found]
    reader = ConfigurationReader(named.get("config_file"), switches)
    configured = reader.read()
    for warning in configured.warnings:
        complain(f"warning: {warning}")
    if "check" in named:
        from gproc.adapters.gfork.checking import faults_of

        sys.stdout.write(summary_of(configured.settings))
        sys.stdout.flush()
        faults = list(faults_of(configured))
        for fault in faults:
            complain(fault)
        return UsageError.exit_status if faults else 0
    from gproc.adapters.gfork.daemon import run

    return run(configured, reader)


class ConfigurationReader:
    """Reads the configuration, as often as it is asked.  path: None for the usual file, if there is one."""

    def __init__(self, path: str | None, switches: Sequence[ConfigLine]) -> None:
        self._path = path
        self._switches = switches

    def read(self) -> Configured:
        """Raises: ConfigurationError; UsageError if the file cannot be read."""
        return settings_of(self.parsed(), self._switches)

    def parsed(self) -> Parsed:
        path = self._path
        if path is None:
            if not os.path.exists(DEFAULT_FILE):
                return Parsed((), ())
            path = DEFAULT_FILE
        return parse(_text_of(path), path)


def _text_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the configuration cannot be read: {reason_of(error)}") from error
    if len(text) > MAX_FILE_BYTES:
        raise UsageError(f"{path} is longer than {MAX_FILE_BYTES:,} bytes: this is not a configuration of gfork")
    return text.decode(errors="surrogateescape")


def summary_of(settings: ServiceSettings) -> str:
    """What a configuration means, a fact a line."""
    facts = [
        ("service", settings.name),
        ("server", " ".join([settings.server, *settings.server_args])),
        ("listens at", f"{settings.bind or 'all addresses'}, port {settings.port or 'any'}"),
        ("connections", "any number" if settings.instances is None else f"at most {settings.instances} at once"),
        ("user", settings.user or "the one that starts gfork"),
        ("environment", " ".join(settings.environment) or "none"),
        *([("data nodes", settings.backends)] if settings.backends else []),
        *(("master", " ".join([master.program, *master.arguments])) for master in settings.masters),
    ]
    return "".join(f"{name:<12} {shown_text(value)}\n" for name, value in facts)
