"""The directory in which a master keeps its state: chosen, made and locked."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from typing import Final

from gproc.disk.trusted import make_trusted
from gproc.environment import base_directory, session_directory
from gproc.errors import GprocError
from gproc.shown import reason_of
from gproc.trust.home import InsecureFile, check_private

PLACES_MAX: Final = 1000

REMEDY: Final = "name another place with --state"


def state_base(environ: Mapping[str, str]) -> str:
    """$GPROC_HOME/state if that is set; else /var/lib/gproc for root, file-hierarchy(7), and for others gproc below
    $XDG_STATE_HOME or ~/.local/state: XDG Base Directory Specification."""
    home = environ.get("GPROC_HOME", "")
    if home:
        return os.path.abspath(os.path.join(home, "state"))
    if os.geteuid() == 0:
        return "/var/lib/gproc"
    return os.path.join(base_directory(environ, "XDG_STATE_HOME", ".local/state", session_directory()), "gproc")


def open_state(base: str) -> tuple[str, int]:
    """The first directory below `base` that no other master has, and the locked handle that keeps others out.

    Two masters of one user get one each, and after a restart the same ones if they start in the same order.
    Raises: GprocError, also if others can read it or write there.
    """
    for number in range(PLACES_MAX):
        place = os.path.join(base, "jobs" if number == 0 else f"jobs-{number}")
        try:
            if reason := make_trusted(place, 0o700):
                raise GprocError(
                    f"cannot keep job records in {place}: {reason}, so others could exchange them; {REMEDY}"
                )
            check_private(place)
            handle = os.open(os.path.join(place, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
        except InsecureFile as error:
            raise GprocError(f"{place} {error.reason}: {error.remedy.partition(', or')[0]}, or {REMEDY}") from error
        except OSError as error:
            raise GprocError(f"cannot keep job records in {place}: {reason_of(error)}; {REMEDY}") from error
        return place, handle
    raise GprocError(f"{base}: {PLACES_MAX} masters keep job records there already; {REMEDY}")
