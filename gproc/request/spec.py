"""What a user asks for, as one value: a client submits it, the master signs it, a node's slave executes it.  Pure.

A new switch that reaches the nodes is a field here, a row of `gproc.cli.switches`, and the code that reads the field.
Text from the kernel (arguments, environment, paths) is bytes; gproc's own text is str.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from gproc.request.limits import COUNT_MAX, Limits

TIMEOUT_MAX_S: Final = 10**9
"""Thirty years.  The bound keeps infinity and NaN away from the event loop's timers."""

WINSIZE_MAX: Final = 0xFFFF
"""struct winsize has 16 bits for each of its numbers."""

DIGEST_BYTES: Final = 32

MIN_BROADCAST_BYTES: Final = 8 << 20
"""From this size on, children send to each other (bench/transfer.py).  Below, connections cost more than they save: of
a small program's bundle 4.6 MB are glibc's, which a node has from the first one."""

PATH_BYTES_MAX: Final = 4095
"""PATH_MAX without its final NUL."""

WORDS_MAX: Final = 1 << 18
"""The limit of arguments, and of variables.  Linux takes 6 MiB of both and of the pointers to them (execve(2)), so more
would be
words of 16 bytes on the average.  Here each costs some 60 bytes more than its text."""

Action = Literal["run", "place", "collect", "map"]
"""What a job does on a node: run its program, copy its bundle to a path, send the files at a path to the client, or
run its program for each task that its standard input names (`gproc.wire.tasks`)."""

UserNumber = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFE)]
"""A uid or gid.  0xFFFFFFFF is left out, because setresuid(2) and chown(2) read it as "no change"."""


GLOBS_MAX: Final = 64
"""The limit of one job: each pattern costs every file of its working directory a comparison."""

Glob = Annotated[bytes, msgspec.Meta(min_length=1, max_length=PATH_BYTES_MAX)]

NodeCount = Annotated[int, msgspec.Meta(ge=1, le=COUNT_MAX)]


class Caller(msgspec.Struct, frozen=True, array_like=True):
    """The user of the client, from the master's kernel.  If a node's slave is root, the job runs as this user."""

    uid: UserNumber
    gid: UserNumber
    groups: tuple[UserNumber, ...]


class TerminalSize(msgspec.Struct, frozen=True, array_like=True):
    """Size of a terminal in characters, as tty_ioctl(4) has it; 0: unknown."""

    rows: Annotated[int, msgspec.Meta(ge=0, le=WINSIZE_MAX)]
    columns: Annotated[int, msgspec.Meta(ge=0, le=WINSIZE_MAX)]


class BundleName(msgspec.Struct, frozen=True, array_like=True):
    """A bundle by the digest of its manifest.  size_bytes: of all its files."""

    digest: Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

    @property
    def is_broadcast(self) -> bool:
        """Whether it is large enough for children to send it to each other."""
        return self.size_bytes >= MIN_BROADCAST_BYTES

HEAVY_BYTES: Final = 128 << 10
"""1.6 MB cost a node 15 ms of CPU, beside the 2 ms of any job."""



class Request(msgspec.Struct, frozen=True, array_like=True, kw_only=True, forbid_unknown_fields=True):
    """One job.  A field that its reader does not know may restrict the job, so such a request is refused.

    nodes, exclude: node specifications; exclude is "" for none.
    action: of "place" and "collect", argv is gproc's name for it and a path on the node; of "map", argv has replacement
    strings (`gproc.request.template`).
    argv: at least the program's name.  env: entries NAME=VALUE, as execve(2) takes them.
    cwd: the caller's working directory: absolute and normalised, as getcwd(3) gives it.
    own_cwd: `cwd` is the node's own directory (`--cwd`).  Else the job gets a private one at its path.
    stdin: whether the program has a standard input; without one it reads /dev/null.
    bundle: the program and its files; None: each node runs its own program.
    bin_root: where on a node the bundle appears; b"": at the slave's own binRoot (`-binRoot` of `gproc s`).
    terminal: the size of the terminal that the program gets; None: it has pipes.
    timeout_s: gproc ends the job after so many seconds; None: never.
    require_all: the job runs only if all nodes that `nodes` means are there, also those that were there and are gone.
    fanout: the program runs on so many nodes at a time; None: on all at once.
    max_fail: after so many nodes have failed no more begin; None: all do.
    collect: names with wildcards (`gproc.request.globs`): files in the job's working directory that match are sent to
    the client when the program has ended.
    """

    nodes: str
    exclude: str = ""
    action: Action = "run"
    argv: Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=WORDS_MAX)]
    env: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=WORDS_MAX)] = ()
    cwd: bytes = b"/"
    umask: Annotated[int, msgspec.Meta(ge=0, le=0o777)] = 0o022
    stdin: bool = False
    bundle: BundleName | None = None
    bin_root: bytes = b""
    terminal: TerminalSize | None = None
    timeout_s: Annotated[float, msgspec.Meta(ge=0, le=TIMEOUT_MAX_S)] | None = None
    limits: Limits = Limits()
    own_cwd: bool = False
    require_all: bool = False
    fanout: NodeCount | None = None
    max_fail: NodeCount | None = None
    collect: Annotated[tuple[Glob, ...], msgspec.Meta(max_length=GLOBS_MAX)] = ()

    @property
    def is_heavy(self) -> bool:
        """Whether arguments and environment are so long that it takes more than a few ms to begin a job with them."""
        return sum(map(len, self.argv)) + sum(map(len, self.env)) > HEAVY_BYTES

    def is_of(self, bundle: bytes) -> bool:
        """Whether it runs a program or places files of this bundle."""
        return self.bundle is not None and self.bundle.digest == bundle

    def __post_init__(self) -> None:
        """Raises: ValueError naming the field; msgspec turns it into a ValidationError when it decodes."""
        _check_path("the working directory", self.cwd)
        if self.bin_root:
            _check_path("binRoot", self.bin_root)
        if self.collect:
            from gproc.request.globs import check_glob  # most jobs collect nothing

            for glob in self.collect:
                check_glob(glob)
        if self.collect and self.action != "run":
            raise ValueError("a job that copies files collects none")
        if any(b"\0" in word for word in (*self.argv, *self.env)):
            raise ValueError("a zero byte in an argument or a variable: execve(2) takes none")
        whole = self.terminal is None and self.timeout_s is None and self.fanout is None
        if self.action == "map" and not (self.stdin and whole):
            raise ValueError("tasks come by standard input, without a terminal, and have time limits of their own")


def _check_path(what: str, path: bytes) -> None:
    """A path that a node may use below its root: appended to a directory, it never leads out of it."""
    if not path.startswith(b"/"):
        raise ValueError(f"{what} {path!r} is not absolute")
    if len(path) > PATH_BYTES_MAX or b"\0" in path:
        raise ValueError(f"{what} is no path: the kernel takes {PATH_BYTES_MAX} bytes without a zero byte")
    if path != b"/" and any(part in (b"", b".", b"..") for part in path[1:].split(b"/")):
        raise ValueError(f"{what} {path!r} is not normalised: it has an empty part, '.' or '..'")
