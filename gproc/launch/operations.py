"""A job as a plan for the static helper: typed operations, in the order of `native/plan.h`.  Pure.

The helper checks each of them again and refuses a plan with one byte that it does not understand.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Final, assert_never

from gproc.launch.cgroup import Group
from gproc.launch.protocol import FRAME_BYTES_MAX, Start
from gproc.request.spec import Caller
from gproc.root.view import CopyTree, InPlace, MakeDirectory, Operation, Overlay, OwnTop, Proc, ShowAt, Tmpfs, View

STAGES: Final = ("launcher", "view", "limits", "identity", "cwd", "exec")
"""The stages at which a job can fail, by the helper's numbers: `native/failure.h`."""

DEFAULT_PATH: Final = b"/usr/local/bin:/usr/bin:/bin"
"""Where a program without a slash in its name is sought if the job's environment has no PATH, as by a shell."""

OOM_SCORE_ADJ: Final = 500
"""Added to the oom_score_adj of a job's processes: they rank as if they used half of the machine's memory besides."""

SELECT_FILES: Final = 1024
"""The soft limit of open files if the caller said none: FD_SETSIZE of select(2).  The slave's own limit is higher."""

LEAST_ADDRESS_SPACE_BYTES: Final = 16 << 20
"""A dynamic loader and its libc do not start in less: 4 MiB are mapped for /bin/true, and twice that for others."""

FORMAT: Final = b"gpi4"
"""The version of plans, reports and orders.  The helper's exit status says whether it knows this version."""

_RLIMIT_NPROC: Final = 6
_RLIMIT_NOFILE: Final = 7
_RLIMIT_AS: Final = 9
"""From <asm-generic/resource.h>: the module `resource` would be loaded for these numbers alone."""

_INFINITE: Final = (1 << 64) - 1

_KEPT: Final = 256
"""Parts of plans that are kept encoded: jobs of one bundle have the same mounts, jobs of one user the same limits."""

_ENVIRONMENTS_KEPT: Final = 4
"""The same for the variables of jobs that are not heavy: all tasks of a list have the same ones, besides their own."""

_NUMBER: Final = struct.Struct("<I").pack
_TWO_NUMBERS: Final = struct.Struct("<II").pack


class Kind(IntEnum):
    """The kinds of operation.  `native/plan.h` says which fields each has."""

    NAMESPACES = 1
    OOM_SCORE = 2
    CGROUP = 3
    ROOT = 4
    USER = 5
    NICE = 6
    CPUS = 7
    UMASK = 8
    CWD = 9
    TERMINAL = 10
    DEADLINE = 11
    LEASE = 12
    EXEC = 13
    HOLD = 14
    TELL = 15
    TMPFS = 20
    DIRECTORY = 21
    OVERLAY = 22
    COPY = 23
    PROC = 24
    SHOW = 25
    LIMIT = 26
    PLACE = 27
    TOP = 28


class NotPlanned(Exception):
    """A job that has no plan, or whose plan would break a promise.  Its facts are those of `SpawnFailed`."""

    def __init__(self, stage: str, code: int, message: str) -> None:
        super().__init__(stage, code, message)
        self.stage = stage
        self.code = code
        self.message = message


def plan(
    start: Start, group: Group, *, slave_uid: int, oom_score: int | None = None,
    deadline_ns: int = 0, lease_ns: int = 0,
) -> bytes:  # fmt: skip
    """The plan of the job `start` in `group`.  deadline_ns, lease_ns: of CLOCK_BOOTTIME; 0: none.

    Raises: NotPlanned.
    """
    view = start.view
    operations = [
        *_surroundings(view.kind == "namespaces", slave_uid, oom_score),
        *((_operation(Kind.CGROUP, _texts(group.directories)),) if group.directories else ()),
        *map(_mount, view.operations),
        *_root(start),
        _user(start.caller),
        *_limits(start, group, slave_uid),
        _operation(Kind.UMASK, struct.pack("<I", start.request.umask)),
        _operation(Kind.CWD, _text(view.cwd)),
        *((_operation(Kind.TERMINAL, b""),) if start.request.terminal is not None else ()),
        *((_operation(Kind.DEADLINE, struct.pack("<Q", deadline_ns)),) if deadline_ns else ()),
        *((_operation(Kind.HOLD, b""),) if start.request.collect else ()),
        *((_operation(Kind.TELL, b""),) if start.tells else ()),
        *((_operation(Kind.LEASE, struct.pack("<Q", lease_ns)),) if lease_ns else ()),
        _exec(start),
    ]  # fmt: skip
    return _framed(operations)


def plan_trial(operations: Iterable[Operation], *, slave_uid: int, gid: int) -> bytes:
    """A plan with namespaces and mounts alone, to see whether the node allows them: no program runs."""
    user = _operation(Kind.USER, struct.pack("<III", slave_uid, gid, 0))
    return _framed([*_surroundings(True, slave_uid, None), *map(_mount, operations), user])


def candidates(program: bytes, environ: dict[bytes, bytes]) -> Iterator[bytes]:
    """The paths that execvp(3) would try, in order.  It reports "permission denied" only if no other path works."""
    if b"/" in program:
        yield program
        return
    for directory in environ.get(b"PATH", DEFAULT_PATH).split(b":"):
        yield (directory or b".") + b"/" + program


def _framed(operations: list[bytes]) -> bytes:
    whole = b"".join(operations)
    if len(whole) > FRAME_BYTES_MAX:
        said = f"argv, environment and view have {len(whole)} bytes; {FRAME_BYTES_MAX} are allowed"
        raise NotPlanned("exec", errno.E2BIG, said)
    return FORMAT + struct.pack("<I", len(whole) + 8) + whole


def _operation(kind: int, fields: bytes) -> bytes:
    return _TWO_NUMBERS(kind, len(fields)) + fields


def _text(text: bytes) -> bytes:
    return _NUMBER(len(text)) + text + b"\0"


def _texts(texts: Sequence[bytes]) -> bytes:
    return _NUMBER(len(texts)) + _joined(texts)


def _joined(texts: Iterable[bytes]) -> bytes:
    parts: list[bytes] = []
    for text in texts:
        parts += _NUMBER(len(text)), text, b"\0"
    return b"".join(parts)


def _surroundings(namespaces: bool, slave_uid: int, oom_score: int | None) -> Iterator[bytes]:
    if namespaces:
        # Without root's rights this needs a user namespace.  Outside it we are still the same user.
        yield _operation(Kind.NAMESPACES, struct.pack("<I", slave_uid != 0))
    if oom_score is not None:
        yield _operation(Kind.OOM_SCORE, struct.pack("<i", oom_score))


@lru_cache(_KEPT)
def _mount(operation: Operation) -> bytes:
    match operation:
        case Tmpfs(at):
            return _operation(Kind.TMPFS, _text(at))
        case MakeDirectory(base, path):
            return _operation(Kind.DIRECTORY, _text(base) + _text(path))
        case Overlay(lowers, upper, work, at, keep):
            layers = _text(at) + _text(upper) + _text(work) + _texts(lowers)
            return _operation(Kind.OVERLAY, layers + _texts(keep))
        case CopyTree(source, at):
            return _operation(Kind.COPY, _text(source) + _text(at))
        case ShowAt(source, at):
            return _operation(Kind.SHOW, _text(source) + _text(at))
        case InPlace(at, root, whole, yielding, stays, yields):
            how = 1 if whole else 2 if stays else 3 if yields else 0
            return _operation(Kind.PLACE, _text(at) + _text(root) + _NUMBER(how) + _texts(yielding))
        case OwnTop(at, directories, links):
            names, targets = _texts([name for name, _ in links]), _texts([target for _, target in links])
            return _operation(Kind.TOP, _text(at) + _texts(directories) + names + targets)
        case Proc(at):
            return _operation(Kind.PROC, _text(at))
        case _:
            assert_never(operation)


@lru_cache(_KEPT)
def _user(caller: Caller) -> bytes:
    numbers = caller.uid, caller.gid, len(caller.groups), *caller.groups
    return _operation(Kind.USER, struct.pack(f"<{len(numbers)}I", *numbers))


def _root(start: Start) -> Iterator[bytes]:
    view = start.view
    if view.root:
        parent, _, name = view.root.rpartition(b"/")
        inside = view.cwd.removeprefix(view.root) if view.cwd.startswith(view.root + b"/") else b""
        yield _operation(Kind.ROOT, _text(parent or b"/") + _text(name) + _text(view.source) + _text(inside))


def _limits(start: Start, group: Group, slave_uid: int) -> Iterator[bytes]:
    limits = start.request.limits
    for resource, soft in {_RLIMIT_NOFILE: SELECT_FILES, **dict(limits.soft)}.items():
        yield _limit(resource, soft, both=False)
    if limits.nice is not None:
        yield _operation(Kind.NICE, struct.pack("<i", limits.nice))
    if limits.cpus is not None:
        yield _operation(Kind.CPUS, struct.pack("<I", max(1, limits.cpus)))
    if limits.max_procs is not None and not group.processes:
        yield _limit(_RLIMIT_NPROC, _processes(start, limits.max_procs, group, slave_uid), both=True)
    if limits.mem_bytes is not None and not group.memory:
        if limits.mem_bytes < LEAST_ADDRESS_SPACE_BYTES:
            raise NotPlanned("limits", errno.EINVAL, mem_too_small(LEAST_ADDRESS_SPACE_BYTES))
        yield _limit(_RLIMIT_AS, limits.mem_bytes, both=True)


def mem_too_small(least_bytes: int) -> str:
    """What is wrong with a --mem that only an address space can bound."""
    least = f"{-(-least_bytes >> 20)} MiB"
    return f"--mem is too small: this node has no memory cgroup, and without one the least is {least}"


def _processes(start: Start, count: int, group: Group, slave_uid: int) -> int:
    if start.caller.uid == 0:
        # setrlimit(2): RLIMIT_NPROC does not bind root, and a job without its bound would break our promise.
        reason = f"root's processes can only be bounded by a cgroup, and {group.unbounded_because}"
        said = f"{reason}: leave --max-procs out, or run the job as another user"
        raise NotPlanned("limits", errno.ENOTSUP, said)
    # The job's first process counts too, except a shim of root's slave, which stays root.
    return count if start.view.kind == "plain" and slave_uid == 0 else count + 1


@lru_cache(_KEPT)
def _limit(resource: int, value: int, *, both: bool) -> bytes:
    return _operation(Kind.LIMIT, struct.pack("<IIQ", resource, both, value & _INFINITE))


def _exec(start: Start) -> bytes:
    added = dict(entry.split(b"=", 1) for entry in start.added)
    variables = _variables if start.request.is_heavy else _kept_variables
    environ, encoded = variables(start.view, start.request.env, tuple(added))
    arguments = start.view.arguments(start.request.argv)
    searched = list(candidates(start.view.program, environ | added))
    _check_texts((*arguments, *start.added, *searched))
    count = _NUMBER(len(environ) + len(added))
    own = _joined(b"%s=%s" % entry for entry in added.items())
    return _operation(Kind.EXEC, b"".join((_texts(searched), _texts(arguments), count, encoded, own)))


def _variables(view: View, env: tuple[bytes, ...], but: tuple[bytes, ...]) -> tuple[dict[bytes, bytes], bytes]:
    """The caller's variables as a program with this view gets them, but for some; and encoded.  Raises: NotPlanned."""
    environ = {name: value for name, value in view.environment(env).items() if name not in but}
    entries = [b"%s=%s" % entry for entry in environ.items()]
    _check_texts(entries)
    return environ, _joined(entries)


_kept_variables = lru_cache(_ENVIRONMENTS_KEPT)(_variables)


def _check_texts(texts: Iterable[bytes]) -> None:
    """Raises: NotPlanned."""
    if b"\0" in b"".join(texts):
        raise NotPlanned("exec", errno.EINVAL, "a NUL in a word or a variable")
