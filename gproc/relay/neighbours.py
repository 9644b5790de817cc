"""The neighbours of a relayed job: the link that it came from, its parts below, at the master its receipt.  Pure."""

from __future__ import annotations

from typing import Protocol

from gproc.request.acts import Act
from gproc.wire.endings import Acknowledged, OutputGone, RankEnded, Release
from gproc.wire.frames import InputBlock
from gproc.wire.merging import AnswerOutput
from gproc.wire.messages import Finished, Message, Run, Signed


class Upstream(Protocol):
    """The link that a job came from: to the parent, or to the client."""

    def send(self, message: Message) -> None: ...

    def write(self, frame: bytes) -> None: ...


class Nowhere:
    """The upstream of a job while this node has no parent.  What is lost here is sent again later."""

    def send(self, message: Message) -> None:
        pass

    def write(self, frame: bytes) -> None:
        pass


class Downstream(Protocol):
    """A child with a part in the job, or this node's own program."""

    def start(self, run: Run) -> None:
        """Begin, or go on with, this part of a job."""

    def obey(self, job: int, act: Act | None, order: Signed) -> None:
        """order: the signed form of `act`, for those below; None: this node has obeyed it before."""

    def stdin(self, job: int, block: InputBlock) -> None: ...

    def credit(self, job: int, stream: int, size: int) -> None: ...

    def answer(self, answer: AnswerOutput) -> None:
        """Take the answer to what it has announced: this node's own program announces nothing."""

    def acknowledge(self, taken: Acknowledged) -> None: ...

    def release(self, word: Release) -> None: ...


class Receipt(Protocol):
    """What the master has of a job: `gproc.relay.receipt.JobReceipt`."""

    def take(self, rank: int, stream: int, offset: int, data: bytes | memoryview) -> int:
        """This has come.  Returns how many bytes of it, from the first, are to be dropped."""

    def acknowledgement(self, rank: int, stream: int, *, again: bool = False) -> Acknowledged | None:
        """What to tell the node now.  again: it may have missed the last one."""

    def end(self, ended: RankEnded) -> Finished | None:
        """How a rank has ended; None: this is not its end, because something is still to come, or came already."""

    def skip(self, gone: OutputGone) -> bool:
        """Go on behind output that no process has any more.  Returns whether the output was missing here."""

    def is_finished(self, rank: int) -> bool: ...

    def finish(self, rank: int) -> None:
        """Take nothing more of a rank."""
