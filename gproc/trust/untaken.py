"""Why a slave does not take a grant or a ticket."""

from __future__ import annotations

from gproc.nodespec import Path, format_path
from gproc.trust.signing import TicketRefused
from gproc.wire.messages import Signed


class ForAnotherSlave(TicketRefused):
    """A grant bound to another nonce: another slave's, or this slave's before it was restarted."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"a grant for {format_path(self.path)} that was made for another slave, or before this one's start"


class ForeignSession(TicketRefused):
    """A ticket of a session that this slave is not in, or a grant into one that it has left."""

    def __init__(self, what: str, session: bytes) -> None:
        super().__init__(what, session)
        self.what = what
        self.session = session

    def __str__(self) -> str:
        return f"a {self.what} of session {self.session.hex()}, to which this slave does not belong (any more)"


class SessionEnded(TicketRefused):
    """A grant by which the master says that the session of this slave has ended.  It came after the end, so this slave
    was cut off then."""

    def __init__(self, grant: Signed) -> None:
        super().__init__(grant)
        self.grant = grant

    def __str__(self) -> str:
        return "the master of this node's session had ended when the node was cut off"


class Replayed(TicketRefused):
    """A number that was here already, or that is not above the one that it must be above."""

    def __init__(self, what: str, sequence: int, last: int | None = None) -> None:
        super().__init__(what, sequence, last)
        self.what = what
        self.sequence = sequence
        self.last = last

    def __str__(self) -> str:
        how = "was here already" if self.last is None else f"comes after number {self.last}"
        return f"a replayed {self.what}: number {self.sequence} {how}"


class NotForMe(TicketRefused):
    """A genuine ticket whose targets leave this node out."""

    def __init__(self, job: int, path: Path, targets: str, exclude: str) -> None:
        super().__init__(job, path, targets, exclude)
        self.job = job
        self.path = path
        self.targets = targets
        self.exclude = exclude

    def __str__(self) -> str:
        excluded = f" without {self.exclude}" if self.exclude else ""
        return f"job {self.job} is for {self.targets}{excluded}, not for this node, {format_path(self.path)}"


class ForeignUser(TicketRefused):
    """A job of a user that this slave cannot become."""

    def __init__(self, job: int, uid: int, own_uid: int) -> None:
        super().__init__(job, uid, own_uid)
        self.job = job
        self.uid = uid
        self.own_uid = own_uid

    def __str__(self) -> str:
        return (
            f"job {self.job} is of uid {self.uid}, and this slave runs as uid {self.own_uid}, so it runs only "
            "that user's jobs: start it as root to serve every user"
        )


class HeldBack(TicketRefused):
    """A ticket that came later than it may begin."""

    def __init__(self, job: int, late_ms: int) -> None:
        super().__init__(job, late_ms)
        self.job = job
        self.late_ms = late_ms

    def __str__(self) -> str:
        return f"job {self.job} was to begin {self.late_ms / 1000:.1f} s ago at the latest: something held it back"


class NoLease(TicketRefused):
    """A ticket that came while the node has no lease."""

    def __init__(self, job: int) -> None:
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        return f"job {self.job} came while this node has no lease: the master has not answered it for too long"


class WrongPlace(TicketRefused):
    """A grant for a place that this slave did not take.  taken: its place, or its number below its parent."""

    def __init__(self, place: Path, taken: Path | int) -> None:
        super().__init__(place, taken)
        self.place = place
        self.taken = taken

    def __str__(self) -> str:
        ours = f"number {self.taken} below its parent" if isinstance(self.taken, int) else format_path(self.taken)
        return f"a grant for {format_path(self.place)}, but this is {ours}"
