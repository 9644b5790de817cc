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
