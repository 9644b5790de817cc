"""Defaults of switches that a site and a user have set in files.

`gproc.trust.config` says which files may be trusted.  Everything in them is checked, also settings for other modes: so
a misspelt key is told at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from gproc.cli.kinds import FLAG
from gproc.cli.modes import MODES, Mode, mode_named
from gproc.cli.parse import nearest
from gproc.cli.switch import Switch
from gproc.cli.switches import SWITCHES, switches_named, switches_of
from gproc.errors import UsageError
from gproc.shown import shown_text
from gproc.trust.config import config_text, toml_of

COMMON: Final = "common"


class Setting(msgspec.Struct, frozen=True):
    """A switch's default in one mode.  mode: its letters.  source: file and section, for people."""

    mode: str
    field: str
    value: object
    source: str


def settings_in(path: str, owners: frozenset[int]) -> list[Setting]:
    """The settings of a file, the weaker ones first; none if there is no such file."""
    text = config_text(path, owners)
    return [] if text is None else settings_of(path, text)


def settings_of(path: str, text: str) -> list[Setting]:
    """The settings in the text of a file.  Raises: UsageError, which names the fault."""
    content = toml_of(path, text)
    for name, section in content.items():
        if not isinstance(section, dict):
            raise UsageError(f"{path}: {name} is in no section: put it below [{COMMON}] or a mode, such as [e]")
        if name != COMMON and mode_named(name) is None:
            known = {other: f"[{other}]" for other in (COMMON, *(n for mode in MODES for n in mode.names()))}
            raise UsageError(f"{path}: there is no mode {name!r} for [{name}]{nearest(name, known)}")
    ordered = sorted(content, key=lambda name: name != COMMON)
    return [setting for name in ordered for setting in _settings_of_section(path, text, name, content[name])]


def line_of(text: str, section: str, key: str) -> int:
    """The number of the line that sets a key; 0 if it is not written as `key = ...` below `[section]`."""
    here = ""
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line.startswith("["):
            here = line.partition("#")[0].strip(" \t[]").strip("\"'")
        elif here == section and "=" in line and line.partition("=")[0].strip(" \t\"'") == key:
            return number
    return 0


def _settings_of_section(path: str, text: str, name: str, section: Mapping[str, object]) -> Iterator[Setting]:
    mode = mode_named(name)
    known = SWITCHES if mode is None else switches_of(mode)
    for key, value in section.items():
        line = line_of(text, name, key)
        where = f"{path}: " + (f"line {line}: " if line else "") + shown_text(f"[{name}] {key}")
        fitting = [switch for switch in known if switch.gnu == key]
        if not fitting:
            raise UsageError(f"{where}: {_unknown(key, known, mode)}")
        for switch in fitting:
            read = _value(switch, value, where)
            for letters in switch.modes if mode is None else (mode.letters,):
                yield Setting(letters, switch.field, read, f"{path} [{name}]")


def _unknown(key: str, known: Sequence[Switch], mode: Mode | None) -> str:
    elsewhere = [letters for switch in switches_named(key) for letters in switch.modes if switch.gnu == key]
    if mode is not None and elsewhere:
        return f"it does not go with mode {mode.letters}: it is a switch of {', '.join(elsewhere)}"
    spelt = {name: switch.gnu for switch in known for name in switch.spellings()}
    page = f"gproc help {mode.letters}" if mode else "gproc help MODE"
    return f"there is no such switch{nearest(key, spelt) or f'; `{page}` lists them'}"


def _value(switch: Switch, value: object, where: str) -> object:
    """The value.  The same text has the same value on the command line."""
    try:
        if isinstance(value, bool) or switch.kind is FLAG:
            if not (isinstance(value, bool) and switch.kind is FLAG):
                raise ValueError(value)
            return value
        if switch.kind.repeats:
            items = value if isinstance(value, list) else [value]
            return tuple(each for item in items for each in _sequence(switch.kind.read(_text(item, switch))))
        return switch.kind.read(_text(value, switch))
    except ValueError:
        wanted = f"{switch.kind.wanted}, or a list of such texts" if switch.kind.repeats else switch.kind.wanted
        raise UsageError(f"{where}: {_written(value)} is not {wanted}{_quoted(value)}") from None


def _written(value: object) -> str:
    """The value as TOML."""
    import json  # whose texts are TOML too

    try:
        return json.dumps(value, default=str)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "this number"


def _quoted(value: object) -> str:
    """How a number that should be a text is written."""
    items = value if isinstance(value, list) else [value]
    is_number = any(isinstance(each, int | float) and not isinstance(each, bool) for each in items)
    return "; a text stands in quotation marks" if is_number else ""


def _text(value: object, switch: Switch) -> str:
    """As on the command line, whose words have no zero byte.  A number is no text, but for switches that want one."""
    if isinstance(value, str) and "\0" not in value:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not switch.kind.is_number:
        raise ValueError(value)
    return str(value)


def _sequence(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)
