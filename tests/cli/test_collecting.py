"""A slave lives for months, so Python's collector of cyclic garbage must be on when it runs, however it was started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gproc.locales import Parent
from gproc.start.commission import STARTED_WORD, Commission
from gproc.trust.authority import open_authority
from gproc.trust.carried import credentials_for

RUN = """
import asyncio, gc, os, sys
import gproc.__main__

def run(main):
    main.close()
    print("collects" if gc.isenabled() else "does not collect", gc.get_freeze_count() > 0, flush=True)
    os._exit(0)

asyncio.run = run
if sys.argv[1] == "__started":
    reader = os.open(sys.argv.pop(), os.O_RDONLY)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor, source in zip((3, 4, 5, 6), (os.dup2(reader, 20), *3 * (os.dup2(null, 21),))):
        os.dup2(source, descriptor)
gproc.__main__.main()
"""


@pytest.mark.parametrize("mode", ["s", STARTED_WORD])
def test_a_slave_collects_garbage(mode: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(0o700)
    authority = open_authority(str(home), create=True)
    secret = tmp_path / "secret"
    parent = Parent("127.0.0.1", 1, is_master=True)
    told = Commission(credentials_for(authority, "n1", []), parent, 1, "", 0, f"{tmp_path}/bundles")
    secret.write_bytes(told.encoded())
    words = [mode, *([str(secret)] if mode == STARTED_WORD else [f"--store={tmp_path}/store"])]
    environ = {"PATH": "/usr/bin:/bin", "GPROC_HOME": str(home), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", RUN, *words], env=environ, capture_output=True, text=True)
    assert done.stdout == "collects True\n", done.stderr
