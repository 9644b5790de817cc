"""Starters: how a plain job's programs execute the programs that were sent along.

On a node without views such a program lies below the job's root, where neither PATH nor a loader of the node looks.  A
starter is a shell script of the same name.  It executes the program through the bundle's own loader, with the bundle's
libraries.  It changes no variable, so the node's programs that this one executes in turn keep their own libraries.
`redirected.search_path` puts the directories of starters on PATH.

Reads the laid-out bundle, which a user made: starters run as that user.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Collection
from typing import Final

import msgspec

from gproc.content.manifest import File, Manifest, Symlink
from gproc.root.code_layout import CodeLayout
from gproc.root.redirected import OWN, STARTERS
from gproc.root.script import shebang

STARTERS_MAX: Final = 4096
"""A bundle may hold a tree with more programs.  Each costs every plain job a file."""

_LOOKED_AT_MAX: Final = 4 * STARTERS_MAX
"""Files that may be programs.  Each is opened."""

_ARGV0_SINCE: Final = (2, 33)
_PLAIN_NAME: Final = re.compile(rb"[\w.+,:@%=/~^ -]+")
"""Paths that a shell reads as they are, between single quotes and as a pattern."""

_SHARED_OBJECT: Final = re.compile(rb"\.so(\.[\w.]+)?$")

_PT_INTERP: Final = 3
_HEADERS_MAX: Final = 128
_PATH_BYTES_MAX: Final = 4096


class Starters(msgspec.Struct, frozen=True):
    """scripts: by the path of the program that each one starts, as the bundle names it."""

    scripts: tuple[tuple[bytes, bytes], ...]

    @property
    def directories(self) -> frozenset[bytes]:
        return frozenset(path.rpartition(b"/")[0] for path, _ in self.scripts)


def starters_of(layout: CodeLayout, laid_out: bytes, node_has: Collection[bytes]) -> Starters:
    """The starters of a bundle's programs, except of those that the node has identically (`node_has`)."""
    if OWN in layout.tops:
        return Starters(())
    modes = {entry.path: entry.mode for entry in layout.manifest.entries if isinstance(entry, File)}
    scripts: list[tuple[bytes, bytes]] = []
    left = _LOOKED_AT_MAX
    for entry in layout.manifest.entries:
        path = entry.path
        if not isinstance(entry, File | Symlink) or _SHARED_OBJECT.search(path) or not _PLAIN_NAME.fullmatch(path):
            continue
        met = layout.chain(path)
        if not met or not modes[met[-1]] & 0o111 or all(step in node_has for step in met):
            continue
        left -= 1
        if left < 0 or len(scripts) == STARTERS_MAX:
            break
        text = _script(layout, laid_out, path, met[-1], node_has)
        if text is not None:
            scripts.append((path, text))
    return Starters(tuple(scripts))


def _script(
    layout: CodeLayout, laid_out: bytes, path: bytes, real: bytes, node_has: Collection[bytes]
) -> bytes | None:
    """The text of the starter for `path`, which leads to the file `real`; None if there can be none."""
    if not _PLAIN_NAME.fullmatch(real):
        return None
    try:
        handle = os.open(laid_out + real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        loader = interpreter_of(handle)
    except (OSError, struct.error):
        return None
    finally:
        os.close(handle)
    words = (
        _of_script(layout, laid_out, real, node_has) if loader is None else _of_program(layout, path, real, loader)
    )
    if words is None:
        return None
    # $0 is the path by which the kernel found this script, whatever the caller passed as argv[0].
    return b"#!/bin/sh\nr=${0%%'%s%s'}\nexec %s \"$@\"\n" % (STARTERS, path, words)


def _of_program(layout: CodeLayout, path: bytes, real: bytes, loader: bytes) -> bytes | None:
    manifest = layout.manifest
    if not loader:
        return _below(real)
    if not layout.chain(loader) or not _PLAIN_NAME.fullmatch(loader):
        return None
    searched = b":".join(map(_below, filter(_PLAIN_NAME.fullmatch, manifest.library_dirs)))
    name = path.rpartition(b"/")[2]
    words = [_below(_loader_below(layout, loader)), b"--library-path", searched]
    if _is_glibc(manifest, loader):
        # As for the job's own program: `plan`.
        words += [b"--inhibit-rpath", b"''"]
        if manifest.glibc_version < _ARGV0_SINCE:
            # argv[0] is the path of the file, by whose name xz knows what it is to be.
            return b" ".join((*words, _below(real))) if name == real.rpartition(b"/")[2] else None
    return b" ".join((*words, b"--argv0", b"'%s'" % name, _below(real)))


def _of_script(layout: CodeLayout, laid_out: bytes, real: bytes, node_has: Collection[bytes]) -> bytes | None:
    words = shebang(laid_out + real)
    if not words:
        return None
    met = layout.chain(words[0]) if words[0].startswith(b"/") else ()
    if not met or all(step in node_has for step in met) or not _PLAIN_NAME.fullmatch(words[0]):
        # The node's own, or one beside the program that runs it: the kernel finds it, or `env` does, on PATH.
        return _below(real)
    rest = [b"'%s'" % word for word in words[1:] if b"'" not in word]
    return b" ".join((b"\"$r\"'%s%s'" % (STARTERS, words[0]), *rest, _below(real)))


def _below(path: bytes) -> bytes:
    return b"\"$r\"'%s'" % path


def _loader_below(layout: CodeLayout, loader: bytes) -> bytes:
    """The loader's file: below the root an absolute link would lead to the node's."""
    return layout.chain(loader)[-1]


def _is_glibc(manifest: Manifest, loader: bytes) -> bool:
    return bool(manifest.glibc) and b"ld-musl" not in loader


def interpreter_of(handle: int) -> bytes | None:
    """PT_INTERP of an open file; b"" if it is an ELF file without one, None if it is no ELF file.

    Raises: OSError, struct.error if it is broken.
    """
    head = os.pread(handle, 64, 0)
    if head[:4] != b"\x7fELF":
        return None
    order = ">" if head[5:6] == b"\x02" else "<"
    is_64 = head[4:5] == b"\x02"
    at, size, count = _table(head, order, is_64=is_64)
    for index in range(min(count, _HEADERS_MAX)):
        header = os.pread(handle, size, at + index * size)
        if struct.unpack_from(f"{order}I", header)[0] == _PT_INTERP:
            offset, length = _extent(header, order, is_64=is_64)
            return os.pread(handle, min(length, _PATH_BYTES_MAX), offset).partition(b"\0")[0]
    return b""


def _table(head: bytes, order: str, *, is_64: bool) -> tuple[int, int, int]:
    """Where the program headers begin, how long each is, and how many there are: elf(5)."""
    (at,) = struct.unpack_from(f"{order}Q", head, 32) if is_64 else struct.unpack_from(f"{order}I", head, 28)
    size, count = struct.unpack_from(f"{order}HH", head, 54 if is_64 else 42)
    return at, size, count


def _extent(header: bytes, order: str, *, is_64: bool) -> tuple[int, int]:
    if is_64:
        offset, _, _, length = struct.unpack_from(f"{order}QQQQ", header, 8)
    else:
        offset, _, _, length = struct.unpack_from(f"{order}IIII", header, 4)
    return offset, length
