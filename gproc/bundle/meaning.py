"""What the words of a command mean, as values."""

from __future__ import annotations

import msgspec


class Ran(msgspec.Struct, frozen=True, array_like=True):
    """A program that a command runs.

    name: as a shell would look for it, a relative path made absolute.
    script: for an interpreter, the script's absolute path, or "".  code: the text that it runs instead (`-c`).
    directories: where its options tell it to look for modules (`-I`).
    """

    name: str
    script: str = ""
    code: str = ""
    directories: tuple[str, ...] = ()


class Meant(msgspec.Struct, frozen=True, array_like=True):
    """All that a command's words mean.

    programs: the command's own first, then what it runs.  files: the caller's.  yielding: the caller's, if a node
    has none of its own.  left: what only -f takes: directories, and what is too large.
    whole: of the caller's programs and files, those that words name by their whole path.
    told: directories that words put into a search path, by its variable (`env LD_LIBRARY_PATH=lib ./prog`).
    directories: of the caller's, by their absolute paths, that relative words name, or in which the command works.
    small: directories in which the command reads a file that its words name.
    around: whether the caller's programs and scripts bring along the small directories in which they lie.
    series: patterns of names (`bundle.series`) of which the command's output files are; () if nothing lies around.
    """

    programs: tuple[Ran, ...]
    files: tuple[str, ...] = ()
    yielding: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    told: tuple[tuple[str, str], ...] = ()
    whole: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    around: bool = False
    small: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
