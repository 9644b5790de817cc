"""Which defaults of files hold beside the switches of a command line.  Pure.

A file says how a user usually wants it, and the command line how it is wanted now.  So a default that contradicts a
given switch gives way to it, and one that only says more about another switch waits for that one.  Switches that are
all given, or all in files, contradict each other as ever: the mode says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SHOWN: Final = {"gather", "gather_all", "sort", "outdir", "json"}
_SENT: Final = {"trace", "venv", "image", "root", "files", "library_path", "with_package"}

CONTRADICTIONS: Final[Mapping[str, tuple[tuple[set[str], set[str]], ...]]] = {
    "e": (
        ({"gather", "gather_all"}, {"sort", "outdir", "json", "label"}),
        ({"sort"}, {"outdir", "json"}),
        ({"outdir", "json"}, {"label"}),
        ({"outdir"}, {"json"}),
        ({"live"}, {"diff"}),
        ({"detach"}, {*_SHOWN, "label", "collect"}),
        ({"tty"}, {*_SHOWN, "label", "no_stdin"}),
        ({"on_disconnect"}, {"collect"}),
        ({"local_bin"}, _SENT),
        ({"trace"}, {"root", "image"}),
    ),
    "map": (
        ({"ungroup"}, {"keep_order", "tag"}),
        ({"detach"}, {"keep_order", "tag", "ungroup", "joblog"}),
        ({"local_bin"}, _SENT),
        ({"trace"}, {"root", "image"}),
    ),
    "logs": (({"times", "label"}, {"keep_order", "tag", "joblog"}),),
    "start": (({"hosts"}, {"low", "high", "failed"}),),
}
"""For each mode, by fields: a switch of the first set cannot be used with one of the second."""

NEEDS: Final[Mapping[str, Mapping[str, set[str]]]] = {
    "e": {"live": {"gather", "gather_all"}, "diff": {"gather", "gather_all"}, "max_fail": {"fanout"}},
}
"""Switches that say more about one of others, without which they mean nothing."""

_OFF: Final = {"on_disconnect": "end", "root": "/"}
"""For each field the value that asks for nothing, if it is not false, none or empty."""


def holding(mode: str, defaults: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """The defaults that hold, by field.  mode: its letters."""
    asked = {field for field, value in given.items() if _is_on(field, value)}
    left = {field: value for field, value in defaults.items() if field not in given}
    for one, other in CONTRADICTIONS.get(mode, ()):
        against = (other if asked & one else set()) | (one if asked & other else set())
        left = {field: value for field, value in left.items() if field not in against or not _is_on(field, value)}
    on = asked | {field for field, value in left.items() if _is_on(field, value)}
    needs = NEEDS.get(mode, {})
    return {field: value for field, value in left.items() if field not in needs or on & needs[field]}


def _is_on(field: str, value: object) -> bool:
    return bool(value) and value != _OFF.get(field)
