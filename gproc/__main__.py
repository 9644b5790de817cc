"""`python -m gproc`, and the console script."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from gproc.descriptors import open_standard_descriptors
from gproc.environment import undo_locale_coercion
from gproc.interpreter import prepare


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


def main() -> NoReturn:
    """Do what sys.argv asks, and end this process with the exit status."""
    _end(run())


def run() -> int:
    """Do what sys.argv asks.  Returns the exit status."""
    gc.disable()  # until all is imported: gproc.cli.main
    open_standard_descriptors()
    prepare()
    undo_locale_coercion()
    try:
        _import_msgspec()
        from gproc.cli.main import main as command

        return command()
    except KeyboardInterrupt:  # while modules are imported, or once more at the end
        return 130  # 128 + SIGINT


def _end(status: int) -> NoReturn:
    """End at once.  Python would free every module and object first: 7 ms of every `gproc e`."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # None: the process that started us had closed it
                stream.flush()
        except OSError:  # said already, or nobody is left to say it to
            pass
    os._exit(status)


if __name__ == "__main__":
    main()
