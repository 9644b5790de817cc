"""How this process would start another Python like itself.

In a runtime (gproc.runtime) nothing of the node is used, not even its dynamic linker: the kernel cannot execute the
interpreter there, but the runtime's own linker can.
"""

from __future__ import annotations

import os
import sys
from typing import Final

LOADER: Final = "ld.so"
LIBRARIES: Final = "lib"
PYTHON: Final = "bin/python3"
"""Names in a runtime, relative to its root; native/bootstrap.c has the same."""


def command() -> list[str]:
    """The words that begin a command line of this interpreter; the first is the file to execute."""
    loader = os.path.join(sys.prefix, LOADER)
    if os.path.exists(loader):
        return [loader, "--library-path", os.path.join(sys.prefix, LIBRARIES), os.path.join(sys.prefix, PYTHON)]
    return [sys.executable]


def prepare() -> None:
    """Make this process independent of what its caller has set for other programs in Python."""
    _speak_utf8()
    _put_callers_modules_last()


def _put_callers_modules_last() -> None:
    """Directories of PYTHONPATH, and the working directory of `python -m`, come after our own libraries.

    Module systems of clusters set it to libraries for other programs and Pythons, and a user may have a `json.py`.
    """
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    callers = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if sys.orig_argv[1:2] == ["-m"]:
        callers += sys.path[:1]
    last = [each for each in sys.path if each in callers and os.path.realpath(each) != os.path.realpath(own)]
    sys.path[:] = [*(each for each in sys.path if each not in last), *last]


def _speak_utf8() -> None:
    """Start this program again in Python's UTF-8 mode if the caller's locale has another encoding (en_US.ISO-8859-1).

    Names in scripts, and what the master tells of others' jobs, are UTF-8: in another encoding they have letters that
    no file name and no output could have, and our own words would reach the master as others.  Bytes of names that are
    no UTF-8 stay as they are.  The programs' environment does not change.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8":
        return
    words = [*command(), "-X", "utf8", *sys.orig_argv[1:]]
    os.execv(words[0], words)
