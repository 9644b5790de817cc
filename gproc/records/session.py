"""The master's session on disk: what the next master needs to go on with it after a crash, and which have ended.

A master that crashed left its session as it was.  If the next one has the same state directory and the same cluster,
and the machine was not restarted meanwhile, it goes on with that session: its nodes, its numbers and its clock.  A
master that ends cleanly notes that its session has ended: nodes that were cut off then hear it from a later one.

The file is written before its numbers are used, so they survive the end of the process.  It is not synced: a restart of
the machine begins a new session anyway, because CLOCK_BOOTTIME is another one then.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec

from gproc.errors import GprocError
from gproc.shown import reason_of
from gproc.trust.lease import boottime_s
from gproc.trust.signing import SESSION_BYTES, Session
from gproc.trust.ticket import ENDED_MAX

log = logging.getLogger("gproc")

FILE: Final = "session"

NUMBERS: Final = 100_000
"""How many numbers of grants and tickets are reserved at a time: a crash skips the rest."""

LEASES_S: Final = 2.0
"""How far ahead the end of all leases is noted, so that not each lease costs a write."""

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
"""random(4): another one after each start of the machine."""

Ordinal = Annotated[int, msgspec.Meta(ge=0)]


class KeptSession(msgspec.Struct, frozen=True):
    """A session that has not ended.

    boot: of the machine's start.  began_s: when its clock was 0, on CLOCK_BOOTTIME of that start.
    run: how many masters it has had.  numbers: those of its grants and tickets are below this.
    leases_end_s: no lease that was given ends later, on the same clock.
    """

    id: Session
    boot: str
    began_s: float
    run: Ordinal
    numbers: Ordinal
    leases_end_s: float


class SessionRecord(msgspec.Struct, frozen=True):
    """The file.  cluster: whose sessions these are.  ended: the sessions that ended cleanly, the last one at last."""

    cluster: str
    session: KeptSession | None = None
    ended: tuple[Session, ...] = ()


class MasterSession:
    """The session of one master.

    found: whether it is that of a master that has crashed.  former_leases_end_s: when the last lease of that one
    ends, by CLOCK_BOOTTIME.  ended: the sessions before it that have ended cleanly.
    """

    def __init__(
        self, place: str, cluster: str, boot: str | None = None, clock_s: Callable[[], float] = boottime_s
    ) -> None:
        """place: the directory of the master's state, which this process has locked."""
        self._path = os.path.join(place, FILE)
        self._clock_s = clock_s
        self._failing = False
        boot = boot_id() if boot is None else boot
        self._before = known = _read(self._path, cluster)
        self.ended = known.ended
        former = known.session
        self.found = former is not None and former.boot == boot and former.began_s <= clock_s()
        if former is None or not self.found:
            former = KeptSession(os.urandom(SESSION_BYTES), boot, clock_s(), 0, 0, 0.0)
        self.former_leases_end_s = former.leases_end_s
        self._number = former.numbers
        self._cluster = cluster
        self._kept = msgspec.structs.replace(former, run=former.run + 1, numbers=former.numbers + NUMBERS)
        self._write()

    @property
    def id(self) -> bytes:
        return self._kept.id

    @property
    def run(self) -> int:
        """How many masters the session has had with this one."""
        return self._kept.run

    def clock_ms(self) -> int:
        """The session's clock: `gproc.trust.lease`."""
        return int((self._clock_s() - self._kept.began_s) * 1000)

    @property
    def last_number(self) -> int:
        """The number of the last grant or ticket."""
        return self._number

    def number(self) -> int:
        """The number of the next grant or ticket: higher than all before it, those of former masters too."""
        self._number += 1
        if self._number >= self._kept.numbers:
            self._kept = msgspec.structs.replace(self._kept, numbers=self._number + NUMBERS)
            self._write()
        return self._number

    def lends(self, until_s: float) -> None:
        """A lease is given that ends then, by CLOCK_BOOTTIME."""
        if until_s > self._kept.leases_end_s:
            self._kept = msgspec.structs.replace(self._kept, leases_end_s=until_s + LEASES_S)
            self._write()

    def end(self) -> None:
        """The session ends: no later master goes on with it."""
        self.ended = (*self.ended, self.id)[-ENDED_MAX:]
        self._save(SessionRecord(self._cluster, None, self.ended))

    def undo(self) -> None:
        """The master did not come to be: the file is as it was."""
        self._save(self._before)

    def _write(self) -> None:
        self._save(SessionRecord(self._cluster, self._kept, self.ended))

    def _save(self, record: SessionRecord) -> None:
        beside = f"{self._path}.new"
        try:
            with open(beside, "wb", opener=_private) as file:
                file.write(msgspec.json.encode(record))
            os.rename(beside, self._path)
            self._failing = False
        except OSError as error:
            # A later master must not go on with numbers that may have been used.
            Path(self._path).unlink(missing_ok=True)
            if not self._failing:
                log.error(
                    "cannot keep the session in %s: %s; a crash of the master ends all jobs",
                    self._path,
                    error.strerror,
                )
            self._failing = True


def boot_id() -> str:
    """Raises: GprocError."""
    try:
        return Path(BOOT_ID).read_text("ascii").strip()
    except OSError as error:
        raise GprocError(f"cannot read {BOOT_ID}: {reason_of(error)}; is /proc mounted?") from error


def _read(path: str, cluster: str) -> SessionRecord:
    """What a former master of this cluster has left."""
    nothing = SessionRecord(cluster)
    try:
        record = msgspec.json.decode(Path(path).read_bytes(), type=SessionRecord)
    except FileNotFoundError:
        return nothing
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.warning("%s cannot be used: %s; a new session begins", path, error)
        return nothing
    return record if record.cluster == cluster else nothing


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
