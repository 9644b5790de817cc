"""`python -m gproc`, and the console script."""

from __future__ import annotations

import os
import sys


def open_standard_descriptors() -> None:
    """Open /dev/null as each of the descriptors 0, 1 and 2 that our caller has closed (`gproc e ... >&-`).

    The kernel gives out the lowest free number.  Without this, the next socket or file would become descriptor 1, and
    would get the bytes for standard output: a program's output would reach the master as requests of its caller.
    """
    opened = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    while opened <= 2:
        os.set_inheritable(opened, True)
        opened = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.close(opened)
    # Python leaves these None if the descriptor was closed at its own start.
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", errors="backslashreplace", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)


def _import_msgspec() -> None:
    """Import msgspec as if typing_extensions were not installed.

    msgspec uses that module only for what `typing` lacks in old Pythons.  The module imports inspect, ast, dis and
    tokenize: 10 ms of every `gproc e`, and a megabyte whose page tables the launcher copies for each job.
    """
    if "typing_extensions" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules["typing_extensions"]


def main() -> int:
    """Do what sys.argv asks.  Returns the exit status."""
    open_standard_descriptors()
    try:
        _import_msgspec()
        from gproc.cli.main import main as command

        return command()
    except KeyboardInterrupt:  # while modules are imported, or once more at the end
        return 130  # 128 + SIGINT


if __name__ == "__main__":
    sys.exit(main())
