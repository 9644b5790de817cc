"""A directory in which a file or link is made before it appears: it belongs to this process alone, beside the final
place."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Final

from gproc.copy.attributes import DEFAULT_LIST, by_descriptor, clear_lists

DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a directory on the way is opened.  O_PATH needs no right to read it."""

STAGED: Final = b"new"
"""The one name in it."""


class StagingDirectory:
    """A staging directory in one directory at a time.  It is made when the first file is made there.

    No other user can look or reach into it.  So if we chown a name in it, that is the file that we made there.
    """

    def __init__(self) -> None:
        self._name = b""
        self._handle = -1

    @property
    def handle(self) -> int:
        return self._handle

    def begin(self, here: int) -> int:
        """Its descriptor, in the directory `here` until `end`.  Raises: OSError."""
        if self._handle < 0:
            self._name = b".gproc-" + os.urandom(8).hex().encode()
            os.mkdir(self._name, 0o700, dir_fd=here)
            handle = os.open(self._name, DIRECTORY, dir_fd=here)
            facts = os.fstat(handle)
            if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
                os.close(handle)
                raise OSError(errno.ESTALE, "the directory was changed while it was being written to")
            self._handle = handle
            # Files in it must get only the access lists that we set, and inherit none: acl(5).
            clear_lists(by_descriptor(handle), DEFAULT_LIST)
        return self._handle

    def clear(self) -> None:
        """Remove what is in it.  Raises: OSError."""
        if self._handle >= 0:
            with suppress(FileNotFoundError):
                os.unlink(STAGED, dir_fd=self._handle)

    def end(self, here: int) -> None:
        """Remove it, with what is in it.  Raises: OSError."""
        name, self._name = self._name, b""
        try:
            self.clear()
        finally:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1
            if name:
                with suppress(FileNotFoundError):
                    os.rmdir(name, dir_fd=here)
