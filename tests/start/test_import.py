"""What a front end imports before it can log in."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import ctypes.util, sys
begun = []
sys.addaudithook(lambda event, args: begun.append(args[0]) if event == "subprocess.Popen" else None)
from gproc.start.ssh import import_asyncssh
usual = ctypes.util.find_library
import_asyncssh()
import asyncssh
print(begun, ctypes.util.find_library is usual)
"""


def test_asyncssh_asks_no_compiler_where_its_libraries_are() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True)
    assert done.stdout == "[] True\n", done.stderr
