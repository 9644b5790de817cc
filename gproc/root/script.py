"""Scripts as the kernel reads them (execve(2)), for the case that it cannot: the interpreter lies below a root.

Reads the laid-out bundle.  Only a job that starts through its own loader needs this.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from gproc.root.code_layout import CodeLayout

_LINE_BYTES: Final = 256
"""BINPRM_BUF_SIZE since Linux 5.1: the kernel cuts the rest of the first line off."""

_NESTED_MAX: Final = 5
"""Interpreters that are scripts themselves, before the kernel gives up with ELOOP."""

_ENV: Final = b"/env"


def interpreter(
    layout: CodeLayout, laid_out: bytes, cwd: bytes, environ: Mapping[bytes, bytes]
) -> tuple[bytes, ...] | None:
    """The ELF program that runs this bundle's program, as a path in the bundle, and its arguments, script excluded.

    () for a bundle whose program is no script; None for a script whose interpreter is not in the bundle.  `env NAME` is
    answered with the NAME that the bundle has on the caller's PATH, because env itself would look on the node's.
    cwd: where the program starts, from which a relative path on a `#!` line counts.
    """
    arguments: tuple[bytes, ...] = ()
    path = layout.manifest.program
    for depth in range(_NESTED_MAX):
        met = layout.chain(path)
        words = shebang(laid_out + met[-1]) if met else None
        if words is None:
            return None
        if not words:
            return (path, *arguments) if depth else ()
        if not words[0].startswith(b"/"):
            words = (cwd + b"/" + words[0], *words[1:])
        named = _past_env(layout, words, environ)
        # An interpreter that is itself a script gets this script's path as an argument, after its own option.
        arguments = (*named[1:], *((path, *arguments) if depth else ()))
        path = named[0]
    return None


def shebang(path: bytes) -> tuple[bytes, ...] | None:
    """The interpreter and its one optional argument; () if the file is no script; None if there is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        line = os.read(fd, _LINE_BYTES).partition(b"\n")[0]
    finally:
        os.close(fd)
    if not line.startswith(b"#!"):
        # A text file without "#!" is run by a shell: execvp(3).
        return () if line.startswith(b"\x7fELF") or b"\0" in line else (b"/bin/sh",)
    # "#!" and nothing behind it: ENOEXEC, as without "#!".
    return tuple(line[2:].strip(b" \t").split(maxsplit=1)) or (b"/bin/sh",)


def _past_env(layout: CodeLayout, words: tuple[bytes, ...], environ: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """`words`, with the program that env(1) would run in place of env, if the bundle has it."""
    if not words[0].endswith(_ENV) or len(words) == 1:
        return words
    name, *rest = words[1].removeprefix(b"-S").split() or [b""]
    for directory in environ.get(b"PATH", b"").split(b":"):
        if layout.chain(directory + b"/" + name):
            return (directory + b"/" + name, *rest)
    return words
