"""The log of gfork: a line for each event, with the time, to a file, to stdout or to stderr."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from enum import IntEnum
from typing import Final

from gproc.logstream import LogStream, open_log
from gproc.shown import shown_text


class Level(IntEnum):
    """How much is logged: what log_level says, and everything below it."""

    ERROR = 0
    MASTER = 1
    CONNECTION = 2


class Journal:
    """path: a file, "-" for stdout, None for stderr.  quiet: nothing at all."""

    def __init__(self, path: str | None, level: int, quiet: bool) -> None:
        """Raises: OSError if the file cannot be written."""
        self._level = level
        self._quiet = quiet
        self._file = None if path is None or path == "-" or quiet else open_log(path)
        self._out = LogStream(self._file if self._file is not None else 1 if path == "-" else 2)

    def error(self, text: str) -> None:
        self._write(Level.ERROR, text)

    def master(self, text: str) -> None:
        self._write(Level.MASTER, text)

    def connection(self, text: str) -> None:
        self._write(Level.CONNECTION, text)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file, self._quiet = None, True  # its number may be another file's by now

    def _write(self, level: Level, text: str) -> None:
        if self._quiet or level > self._level:
            return
        with suppress(OSError):  # the disk is full, or the reader is gone: the service goes on
            self._out.write(f"{time.strftime(_TIME)} gfork: {shown_text(text)}\n")


_TIME: Final = "%Y-%m-%d %H:%M:%S"
