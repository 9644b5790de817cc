"""A hint at files that a failed program looked for on its nodes, and that are here: taken from its messages on
stderr."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Final

from gproc.content.paths import within
from gproc.errors import EXIT_NOT_FOUND
from gproc.packager import Bundle
from gproc.request.outcome import NotStarted, Outcome
from gproc.shown import shown_text

_NAMES_SHOWN: Final = 3
_MISSING: Final = re.compile(
    rb"no such file|not found|(?:cannot|can't|could not) (?:open|find|access|read|load)", re.IGNORECASE
)
_BETWEEN: Final = re.compile(rb"[\s\"'`<>(){}\[\],;|]+|\xe2\x80[\x98-\x9d]")
SHELL_HINT: Final = "if it is a line for a shell, add --shell"

_OF_SHELLS: Final = re.compile(
    r".*[ \t\n;|&<>$`*()].*|[A-Za-z_]\w*=.*"
    r"|alias|cd|declare|eval|exec|export|for|function|if|let|local|module|popd|pushd|read|set|shopt|source|time|type"
    r"|ulimit|umask|unset|until|while|\.|:|!|\[\[|\{",
    re.DOTALL,
)
"""What only a shell understands.  `module` is a function that sites define."""

_NODES_OWN: Final = ("/proc", "/sys", "/dev", "/run")


def hints(errors: bytes, bundle: Bundle, cwd: str) -> list[str]:
    """Sentences for people.  errors: the end of what the nodes wrote to standard error."""
    found = []
    if names := list(dict.fromkeys(_lacking(errors, bundle, cwd)))[:_NAMES_SHOWN]:
        shown = ", ".join(map(shown_text, names))
        is_one = len(names) == 1
        found.append(
            f"{shown} {'is' if is_one else 'are'} here and {'was' if is_one else 'were'} not sent:"
            f" -f {'sends it' if is_one else 'sends them'}, and --trace whatever the program opens"
        )
    sent = {os.fsdecode(entry.path) for entry in bundle.manifest.entries} if bundle.left else set()
    unsent = [name for name in bundle.left if os.path.normpath(os.path.join(cwd, name)) not in sent]
    if left := [name for name in unsent if name not in names][:_NAMES_SHOWN]:
        found.append(f"the command names {', '.join(map(shown_text, left))}, which only -f sends")
    return found


def looks_like_a_shell_line(program: str) -> bool:
    """Whether a program that was not found is rather the begin of a line for a shell, as ssh and pdsh take it."""
    return _OF_SHELLS.fullmatch(program) is not None


def misread(program: str, status: int) -> list[str]:
    """The same for what is no program of a node (-localbin): status is the job's."""
    return [SHELL_HINT] if status == EXIT_NOT_FOUND and looks_like_a_shell_line(program) else []


def hidden(program: str, cwd: str, outcomes: Iterable[Outcome]) -> list[str]:
    """The same for a node's own program (-localbin) that lies where the job has its private working directory."""
    path = os.path.normpath(os.path.join(cwd, program))
    if "/" not in program or not within(path, cwd):
        return []
    if not any(isinstance(each, NotStarted) and each.because == "not found" for each in outcomes):
        return []
    return [
        f"{shown_text(cwd)} is the job's own working directory, and hides what a node has there: --cwd "
        f"{shown_text(cwd)} starts in the node's own directory"
    ]


def _lacking(errors: bytes, bundle: Bundle, cwd: str) -> Iterator[str]:
    sent = {entry.path for entry in bundle.manifest.entries}
    for line in errors.splitlines():
        if not _MISSING.search(line):
            continue
        for word in _BETWEEN.split(line):
            word = word.rstrip(b":.")
            path = os.path.normpath(os.path.join(cwd, os.fsdecode(word))) if word else ""
            looks_like_a_path = b"/" in word or b"." in word
            if not looks_like_a_path or not os.path.lexists(path) or any(within(path, tree) for tree in _NODES_OWN):
                continue
            if sent.isdisjoint((os.fsencode(path), os.fsencode(os.path.realpath(path)))):
                yield os.fsdecode(word)
