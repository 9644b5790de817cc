"""A view as a value: what is mounted where, in order, before a program starts.  Pure.

All paths are absolute bytes, as the job's process 1 finds them before the first operation.
"""

from __future__ import annotations

from typing import Final, Literal, Union

import msgspec

_LIBRARY_PATH: Final = b"LD_LIBRARY_PATH"


class Tmpfs(msgspec.Struct, frozen=True, array_like=True, tag="tmpfs"):
    """An empty file system of the job's own; `at` must be a directory and no symlink."""

    at: bytes


class MakeDirectory(msgspec.Struct, frozen=True, array_like=True, tag="mkdir"):
    """`path` below `base`.  Missing parts are made, for the caller.  No symlink in it is followed."""

    base: bytes
    path: bytes


class Overlay(msgspec.Struct, frozen=True, array_like=True, tag="overlay"):
    """The union of `lowers`, first one on top, at `at`; read-only if `upper` is b"".

    keep: what is put back on top as it was, with all that is mounted below it, as paths relative to `at`: it
        stays the node's own, and writable.
    """

    lowers: tuple[bytes, ...]
    upper: bytes
    work: bytes
    at: bytes
    keep: tuple[bytes, ...] = ()


class CopyTree(msgspec.Struct, frozen=True, array_like=True, tag="copy"):
    """A copy of the content of `source`, in the directory `at`: for nodes that have no overlay."""

    source: bytes
    at: bytes


class ShowAt(msgspec.Struct, frozen=True, array_like=True, tag="show"):
    """The directory `source`, also shown at `at`, a directory that the caller named.

    A process that has become the caller opens it, and makes it if it is missing.
    """

    source: bytes
    at: bytes


class InPlace(msgspec.Struct, frozen=True, array_like=True, tag="place"):
    """What the job has at `at` below `root`, its own root, also at `at` itself, a directory that the caller named.

    A process that has become the caller opens it, or the nearest one above it that exists and that the caller may look
    into; the node's other entries there are put back, one by one.
    whole: the job's directory stands for the node's, of which nothing is put back.
    yielding: files of the job's below `at`, by relative paths, in place of which the caller sees the node's own, if it
        has them.  They leave `root` then, and so do directories in which nothing else is: they are the node's own, and
        what is written there is written for real.
    stays: `at` itself is the job's own even then, as a working directory is.
    yields: all that the job has there gives way.  So if the node has too many entries to put back, it is not shown.
    """

    at: bytes
    root: bytes
    whole: bool
    yielding: tuple[bytes, ...] = ()
    stays: bool = False
    yields: bool = False


class OwnTop(msgspec.Struct, frozen=True, array_like=True, tag="top"):
    """A root directory of the job's own, on a tmpfs at `at`: with all that the node's has, and empty directories and
    links besides.

    links: names and targets.
    """

    at: bytes
    directories: tuple[bytes, ...]
    links: tuple[tuple[bytes, bytes], ...] = ()


class Proc(msgspec.Struct, frozen=True, array_like=True, tag="proc"):
    """/proc of the job's own PID namespace; without it /proc/self would name nothing."""

    at: bytes


Operation = Union[Tmpfs, MakeDirectory, Overlay, CopyTree, ShowAt, InPlace, OwnTop, Proc]  # noqa: UP007 - for 3.11


class Through(msgspec.Struct, frozen=True, array_like=True):
    """What the kernel executes instead of the program: a loader, or a script's interpreter.

    options: the arguments between it and the program's path, without --argv0.
    names_argv0: whether it is a loader that knows --argv0.
    program: the program that it runs.  argv0: the program's name; b"" for the caller's own argv[0].
    arguments: those before the caller's: for an interpreter, the script.
    """

    options: tuple[bytes, ...]
    names_argv0: bool
    program: bytes
    argv0: bytes = b""
    arguments: tuple[bytes, ...] = ()


class View(msgspec.Struct, frozen=True, array_like=True):
    """What a job sees, and what it executes there.

    kind: "namespaces" if `operations` run in mount and PID namespaces of the job's own; "plain" if there
        are none and the directory `root` is all that the job gets.
    program: the path that the kernel executes; without a slash it is sought on the job's own PATH.
    cwd: the directory in which the program starts.
    through: set if `program` is not the program itself.
    library_path: put before the caller's LD_LIBRARY_PATH: what the node's loader would not find by itself.
    variables: set in place of the caller's, by name.
    moved: `cwd` is not the caller's working directory, which PWD names.
    root, source: plain only: `root` is made as a copy of `source` (empty if that is b"") and removed when
        the job is over; b"" if the job needs none.
    """

    kind: Literal["namespaces", "plain"]
    operations: tuple[Operation, ...]
    program: bytes
    cwd: bytes
    through: Through | None = None
    root: bytes = b""
    source: bytes = b""
    library_path: tuple[bytes, ...] = ()
    moved: bool = False
    variables: tuple[tuple[bytes, bytes], ...] = ()

    def arguments(self, argv: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """argv as the kernel is given it."""
        through = self.through
        if through is None:
            return argv
        named = (b"--argv0", through.argv0 or argv[0]) if through.names_argv0 else ()
        return (self.program, *through.options, *named, through.program, *through.arguments, *argv[1:])

    def environment(self, env: tuple[bytes, ...]) -> dict[bytes, bytes]:
        """The caller's variables as the program gets them.  Texts that are no NAME=value are left out."""
        found = dict(entry.split(b"=", 1) for entry in env if b"=" in entry)
        if self.moved and b"PWD" in found:
            found[b"PWD"] = self.cwd
        found.update(self.variables)
        if self.library_path:
            callers = found.get(_LIBRARY_PATH)
            # An empty list is no list to ld.so(8), whereas an empty element would be the working directory.
            found[_LIBRARY_PATH] = b":".join((*self.library_path, *((callers,) if callers else ())))
        return found
