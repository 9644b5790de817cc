"""`gproc --show-completion [SHELL]` and `gproc --install-completion [SHELL]`.

Without SHELL, shellingham finds out which shell runs gproc.  On a terminal, Typer asks before a start-up file is
changed.  Both are imported only here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from gproc.cli.shells import SHELLS, Shell, install, shell_named, startup_path
from gproc.errors import UsageError


def run(arguments: Sequence[str]) -> int:
    """arguments: the switch, and the shell's name if it is given."""
    switch, _, after = arguments[0].lstrip("-").partition("=")
    names = [*([after] if after else []), *arguments[1:]]
    if len(names) > 1:
        raise UsageError(f"--{switch} takes one shell: bash, zsh or fish")
    shell = shell_named(names[0]) if names else _calling_shell(switch)
    if switch == "show-completion":
        sys.stdout.write(shell.script)
        return 0
    startup = startup_path(shell, os.environ)
    if startup and sys.stdin.isatty() and sys.stdout.isatty():
        import typer

        if not typer.confirm(f"Add a line to {startup}?", default=True):
            print("Nothing is changed; `gproc --show-completion` prints the script.")
            return 1
    for path in install(shell, os.environ):
        print(f"wrote {path}")
    print(f"Completion works in every {shell.name} that starts from now on.")
    return 0


def _calling_shell(switch: str) -> Shell:
    import shellingham  # type: ignore[import-untyped]

    try:
        name, _ = shellingham.detect_shell()
    except shellingham.ShellDetectionFailure:
        name = ""
    if name not in {shell.name for shell in SHELLS}:
        called = f"{name} has no completion here" if name else "cannot find out which shell runs this"
        raise UsageError(f"{called}: gproc --{switch} bash, zsh or fish")
    return shell_named(name)
