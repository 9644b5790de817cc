"""The code of modules: without docstrings, assertions, columns and annotations, of which a node shows nothing.

A traceback shows columns below a line of the source, and there are no sources on a node.  Without them the modules of a
slave are compressed to two thirds.  Python leaves them out only if the process that compiles is told so when it starts.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from importlib.util import MAGIC_NUMBER
from typing import Final

from gproc import interpreter
from gproc.errors import BundleError

_UNTIMED: Final = MAGIC_NUMBER + bytes(12)
"""The head of a .pyc file without a source beside it, whose time is not looked at."""

COMPILER: Final = os.path.join(os.path.dirname(__file__), "compiler.py")


def compiled_modules(sources: Mapping[str, str]) -> dict[str, bytes]:
    """Each module's code as `marshal` writes it.  sources: the text of each module, by its place without a suffix.

    Raises: BundleError.
    """
    words = [*interpreter.command(), "-I", "-S", "-X", "no_debug_ranges", COMPILER]
    done = subprocess.run(words, input=json.dumps(dict(sources)).encode(), capture_output=True)
    if done.returncode:
        raise BundleError(done.stderr.decode(errors="replace").strip() or f"Python ended: status {done.returncode}")
    found: dict[str, bytes] = {}
    start = 0
    for place in sources:
        end = start + 4 + int.from_bytes(done.stdout[start : start + 4], "big")
        found[place] = done.stdout[start + 4 : end]
        start = end
    return found


def pyc(code: bytes) -> bytes:
    """The content of a .pyc file."""
    return _UNTIMED + code
