"""Says what is wrong with a locale file: with the key's place, the known keys, and the words of TOML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

_TOML: Final = {
    "str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false", "array": "a list",
    "object": "a table",
}  # fmt: skip
"""msgspec's names of types, in words."""

_PLACE: Final = re.compile(r" - at `\$\.?(.*)`$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`")
_KIND: Final = re.compile(r"Expected `(\w+)`, got `(\w+)`")
_LEAST: Final = re.compile(r"Expected `\w+` >= (\d+)")
_MOST: Final = re.compile(r"Expected `\w+` <= (\d+)")
_EMPTY: Final = re.compile(r"Expected `str` of length >= 1")


def fault_in(message: str, keys_at: Mapping[str, Sequence[str]]) -> str:
    """message: msgspec's.  keys_at: the keys of each kind of table, by its name: "" for the file, "rack" for racks."""
    at = ""
    if found := _PLACE.search(message):
        at, message = found[1], message[: found.start()]
    table = re.sub(r"\[[^]]*\]", "", at).rpartition(".")[2]
    what = f"{at}: " if at else ""
    if found := _UNKNOWN.fullmatch(message):
        return f"{what}there is no key {found[1]}{_instead(found[1], keys_at.get(table, ()))}"
    if found := _MISSING.fullmatch(message):
        return f"{what}the key {found[1]} is missing"
    if found := _KIND.fullmatch(message):
        return f"{what}{_TOML.get(found[1], found[1])} is wanted, and this is {_TOML.get(found[2], found[2])}"
    if found := _LEAST.fullmatch(message):
        return f"{what}at least {found[1]} is wanted"
    if found := _MOST.fullmatch(message):
        return f"{what}at most {found[1]} is wanted"
    if _EMPTY.fullmatch(message):
        return f"{what}a text of at least one character is wanted"
    return f"{what}{message}"


def _instead(key: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    if near := get_close_matches(key, known, n=1):
        return f"; did you mean {near[0]}?"
    return f"; the keys are {', '.join(known)}" if known else ""
