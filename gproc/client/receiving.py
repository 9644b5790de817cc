"""On the client: receives the files that nodes have collected, each node's in a directory of its own, and complaints.

Trust: no node is trusted.  A node's stream can only make files, directories and links below that node's directory,
never a device, a set-id bit, or an attribute that gives rights.  If a stream is malformed, or sizes in it are wrong,
the rest of it is dropped.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import assert_never

from gproc.client.complaints import Complaints
from gproc.client.events import Stream
from gproc.copy.descent import WayLost
from gproc.copy.known import told_of
from gproc.copy.metadata import FROM_NODES
from gproc.copy.source import name_of
from gproc.copy.staging import DIRECTORY
from gproc.copy.steps import (
    DEPTH_MAX,
    ITSELF,
    End,
    Extent,
    Folder,
    HardLink,
    Hole,
    Leaf,
    Leave,
    NotSent,
    Same,
    Special,
    Step,
    StepReader,
    SymlinkStep,
    Torn,
    Whole,
)
from gproc.copy.writer import Complain, Writer
from gproc.descriptors import write_all
from gproc.errors import GprocError, PeerError
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Path, format_path
from gproc.request.globs import Globs
from gproc.shown import shown


class Collected:
    """The `Sink` of `gproc get`: makes a directory in `home` for each node that sends something."""

    def __init__(self, home: str, source: bytes = b"", naming: Naming = PLACES, *, tells: bool = False) -> None:
        """source: the path on the nodes: nothing else is taken from them.  b"": all that they send is taken.

        tells: whether `have` tells the nodes what is in `home` already.

        Raises: GprocError if `home` is no directory and cannot be made one.
        """
        self.complaints = Complaints(naming)
        self.received_bytes = 0
        """Bytes of files, and of what is said of them, that have come."""
        self._naming = naming
        self._home_path = os.fsencode(home)
        self._home = opened_home(home)
        self._arrivals: list[IncomingTree] = []
        self._top = name_of(source) if source else b""
        self.have: int | None = None
        """A file for the job's standard input, filled when the job begins; None if nothing is here."""
        if tells and os.listdir(self._home_path):
            self.have = os.memfd_create("gproc-get", os.MFD_CLOEXEC)

    def begin(self, paths: Sequence[Path]) -> None:
        self.complaints.begin(paths)
        allow_descriptors()
        for rank, path in enumerate(paths):
            name = self._naming.file_name(path).encode()
            complain = partial(self.complaints.add, rank)
            self._arrivals.append(IncomingTree(self._home, self._home_path, name, complain, self._top))
        if self.have is not None:
            below = self._home_path.rstrip(b"/") + b"/"
            places = [(format_path(path).encode(), below + self._naming.file_name(path).encode()) for path in paths]
            os.write(self.have, told_of(places, self._top))
            os.lseek(self.have, 0, os.SEEK_SET)

    def output(self, rank: int, stream: Stream, data: memoryview) -> None:
        if stream == "stdout":
            self.received_bytes += len(data)
            self._arrivals[rank].feed(data)
        else:
            self.complaints.feed(rank, data)

    def finish(self) -> None:
        """Drop files that are incomplete."""
        for arrival in self._arrivals:
            arrival.close()
        self.complaints.finish()
        os.close(self._home)
        if self.have is not None:
            os.close(self.have)

    def is_whole(self, rank: int) -> bool:
        """Whether the node's stream has come to its end."""
        return self._arrivals[rank].is_whole

    def was_dropped(self, rank: int) -> bool:
        """Whether the rest of the node's stream was dropped.  A complaint says why."""
        return self._arrivals[rank].was_dropped


class IncomingTree:
    """Carries out one node's stream, below `home`/`name`.  asked: the one name that it may have there; b"": any.

    globs: what paths below there it may have; None: any.  matched: those for which something came, by their numbers.
    """

    def __init__(
        self, home: int, home_path: bytes, name: bytes, complain: Complain, asked: bytes = b"",
        globs: Globs | None = None,
    ) -> None:  # fmt: skip
        self.matched: set[int] = set()
        self._globs = globs
        self._reached = [] if globs is None else [globs.begin()]
        """How far the globs have got in each directory that we are in."""
        self._asked = asked
        self._began = False
        self.is_whole = False
        self.was_dropped = False
        self._home = home
        self._name = name
        self._path = home_path.rstrip(b"/") + b"/" + name
        self._complain = complain
        self._reader = StepReader()
        self._writer: Writer | None = None
        self._leaf: Leaf | None = None
        self._left_bytes = 0
        self._handle: int | None = None

    def feed(self, data: memoryview) -> None:
        if self.was_dropped:
            return
        try:
            for item in self._reader.feed(data):
                if self.was_dropped:
                    return
                if self.is_whole:
                    raise PeerError("something after its end")
                if isinstance(item, memoryview):
                    self._data(item)
                else:
                    self._step(item)
        except PeerError as error:
            self._complain(f"it sent something else than files, so the rest is dropped: {error}")
            self._drop()
        except WayLost as error:
            self._complain(str(error))
            self._drop()

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _drop(self) -> None:
        self.is_whole, self.was_dropped = False, True
        self.close()

    def _step(self, step: Step) -> None:
        if isinstance(step, End):
            if self._leaf is not None or (self._writer is not None and self._writer.depth):
                raise PeerError("an end in the middle of a file or directory")
            self.is_whole = True
            return
        writer = self._opened()
        if writer is None:
            return
        if (self._leaf is not None) != isinstance(step, Hole | Whole | Torn | Same) and not isinstance(step, NotSent):
            raise PeerError(f"{type(step).__name__} at a place where it cannot be")
        if isinstance(step, Folder | SymlinkStep | HardLink | Leaf) and not writer.depth:
            self._check_asked(step.name)
        self._check_globs(step)
        match step:
            case Folder(name):
                if writer.depth > DEPTH_MAX or (name == ITSELF and writer.depth):
                    raise PeerError("a directory at a place where it cannot be")
                writer.folder(step)
            case Leave():
                if not writer.depth:
                    raise PeerError("a way out of its own directory")
                writer.leave(step)
            case SymlinkStep():
                writer.link(step)
            case HardLink():
                writer.hard_link(step)
            case Leaf():
                self._leaf = step
                self._left_bytes = step.size_bytes
                self._handle = writer.begin(step)
            case Hole(size_bytes):
                self._hole(size_bytes)
            case Whole():
                if self._left_bytes:
                    raise PeerError(f"a file that is {self._left_bytes} bytes shorter than announced")
                self._leaf = self._handle = None
                writer.keep()
            case Same():
                if self._leaf is None or self._left_bytes != self._leaf.size_bytes:
                    raise PeerError("a file that is said to be here already, after some of its bytes")
                self._leaf = self._handle = None
                writer.same()
            case Torn():
                self._leaf = self._handle = None
                writer.tear()
            case NotSent(line):
                self._complain(shown(line))
            case Special() | Extent():
                raise PeerError(f"{type(step).__name__}, which no node is asked for")
            case _:
                assert_never(step)

    def _check_asked(self, name: bytes) -> None:
        """Raises: PeerError for what would replace something else that is in the node's directory."""
        if self._asked and (name != self._asked or self._began):
            raise PeerError(f"{shown(name)}, which it was not asked for")
        self._began = True

    def _check_globs(self, step: Step) -> None:
        """Raises: PeerError for what no glob asks for."""
        if self._globs is None:
            return
        if isinstance(step, Leave) and len(self._reached) > 1:
            self._reached.pop()
        elif isinstance(step, Folder | SymlinkStep | HardLink | Leaf):
            states = self._globs.enter(self._reached[-1], step.name)
            matching = self._globs.matching(states)
            is_folder = isinstance(step, Folder)
            if step.name == ITSELF or not (self._globs.below(states) if is_folder else matching):
                raise PeerError(f"{shown(step.name)}, which it was not asked for")
            if is_folder:
                self._reached.append(states)
            else:
                self.matched.update(matching)

    def _data(self, data: memoryview) -> None:
        leaf = self._took(len(data))
        if self._handle is None:
            return
        try:
            write_all(self._handle, data)
        except OSError as error:
            self._tear(leaf, error)

    def _hole(self, size_bytes: int) -> None:
        leaf = self._took(size_bytes)
        if self._handle is None:
            return
        assert self._writer is not None
        try:
            self._writer.hole(size_bytes)
        except OSError as error:
            self._tear(leaf, error)

    def _took(self, size_bytes: int) -> Leaf:
        """Take this many bytes of the begun file.  Returns the file."""
        self._left_bytes -= size_bytes
        if self._leaf is None or self._left_bytes < 0:
            raise PeerError("more bytes than announced")
        return self._leaf

    def _tear(self, leaf: Leaf, error: OSError) -> None:
        """The file cannot be written here: read the rest of it and drop it."""
        assert self._writer is not None
        self._writer.complain(leaf.name, error)
        self._writer.tear()
        self._handle = None

    def _opened(self) -> Writer | None:
        """The writer in the node's own directory, which is made when the first step comes."""
        if self._writer is None and not self.was_dropped:
            try:
                with suppress(FileExistsError):
                    os.mkdir(self._name, dir_fd=self._home)
                handle = os.open(self._name, DIRECTORY, dir_fd=self._home)
            except OSError as error:
                reason = "not a directory" if error.errno in (errno.ENOTDIR, errno.ELOOP) else error.strerror
                self._complain(f"{shown(self._path)}: {reason}")
                self._drop()
                return None
            self._writer = Writer(handle, self._path, self._complain, FROM_NODES)
        return self._writer


def opened_home(home: str) -> int:
    try:
        with suppress(FileExistsError):
            os.mkdir(home)
        return os.open(home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        where = shown(os.fsencode(home))
        raise GprocError(f"{where}: cannot put the nodes' files here: {error.strerror}") from error


def allow_descriptors() -> None:
    """Raise our soft limit of descriptors: four are open for each node.  The usual 1,024 are for users of select(2)."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
