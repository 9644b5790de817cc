"""Make gproc's wheel: `python scripts/wheel.py DIRECTORY [MACHINE...]`, by a Python that has pip.

A release needs the static helper and its man pages.  pip shows no warning of a build, so without this check a missing
helper would be noticed only by slow nodes.  So this script looks into the wheel before it puts it into DIRECTORY.
Other wheels of the same version are removed there: pip would take one of them on another machine.

MACHINE: x86_64 or aarch64; this one if none is named.  hatchling is taken from this Python's environment if it has it.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
HELPER: Final = "gproc/native/gproc-helper"
PAGE: Final = ".data/data/share/man/man1/gproc.1"


class Faulty(Exception):
    """Why there is no wheel that could be released: one sentence."""


def main(words: Sequence[str]) -> int:
    if not words or words[0].startswith("-"):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    to = Path(words[0])
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        try:
            wheels = [built(machine, Path(made, machine)) for machine in words[1:] or [""]]
        except Faulty as error:
            sys.stderr.write(f"wheel.py: {error}\n")
            return 1
        for wheel in wheels:
            for older in sorted(to.glob(f"{'-'.join(wheel.name.split('-')[:2])}-*.whl")):
                if older.name not in {each.name for each in wheels}:
                    sys.stderr.write(f"wheel.py: removes {older}, an older wheel of the same version\n")
                    older.unlink()
            sys.stdout.write(f"{shutil.copy(wheel, to)}\n")
    return 0


def built(machine: str, place: Path) -> Path:
    """A wheel for a machine; "": this one.  Raises: Faulty."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if importlib.util.find_spec("hatchling") is not None:
        command.append("--no-build-isolation")  # as in an environment of requirements.lock: nothing is fetched
    environ = dict(os.environ)
    if machine and machine != platform.machine():
        environ["GPROC_TARGET"] = machine
    else:
        environ.pop("GPROC_TARGET", None)
    done = subprocess.run([*command, "--wheel-dir", str(place), str(CHECKOUT)], env=environ)
    if done.returncode != 0:
        raise Faulty(f"there is no wheel for {machine or platform.machine()}: pip ended with status {done.returncode}")
    (wheel,) = place.glob("gproc-*.whl")
    check(wheel)
    return wheel


def check(wheel: Path) -> None:
    """Raises: Faulty if something is missing that a build leaves out with a warning."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        if HELPER not in names:
            why = archive.read(f"{HELPER}.why").decode().strip() if f"{HELPER}.why" in names else "nobody knows why"
            raise Faulty(f"gproc's static helper is not in {wheel.name}, so it is no release: {why}")
        if not any(name.endswith(PAGE) for name in names):
            raise Faulty(f"the man pages are not in {wheel.name}, so it is no release: has this Python msgspec?")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
