"""The payload of these tests: a large file, and a shell that reads it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from bench.payload import random_file

MIB: Final = 1 << 20
SHELL: Final = "/bin/sh"


class Payload:
    """A file in a foreign root: nodes of this test share this machine's disk, but do not find the file there."""

    def __init__(self, root: Path, size_bytes: int) -> None:
        self.root = root
        self.path = "/gproc-payload/data"
        self.file = root / self.path[1:]
        self.size_bytes = size_bytes
        listed = subprocess.run(["ldd", SHELL], capture_output=True, check=True, text=True).stdout
        for needed in [SHELL, *{word for word in listed.split() if word.startswith("/")}]:
            (root / needed[1:]).parent.mkdir(parents=True, exist_ok=True)
            (root / needed[1:]).write_bytes(Path(needed).read_bytes())
            (root / needed[1:]).chmod(0o755)
        random_file(str(self.file), size_bytes)

    def words(self, nodes: str, script: str = "cksum $GPROC_ROOT/gproc-payload/data") -> list[str]:
        """The words of a `gproc e` that sends the payload and runs this script on the nodes."""
        return ["-n", "-r", str(self.root), "-f", self.path, nodes, SHELL, "-c", script]

    @property
    def sum(self) -> str:
        """What the script prints if the payload is complete."""
        done = subprocess.run(["cksum"], stdin=self.file.open("rb"), capture_output=True, check=True, text=True)
        return done.stdout.strip()

    def change(self, offset: int) -> None:
        """Overwrite one MiB."""
        with self.file.open("r+b") as file:
            file.seek(offset)
            file.write(os.urandom(MIB))
