"""`gproc config`: the defaults of all switches, and which file set them."""

from __future__ import annotations

import os
import sys
from typing import Final

import msgspec

from gproc.cli.modes import MODES, Mode
from gproc.cli.options import ConfigOptions
from gproc.cli.pages import default_text
from gproc.cli.settings import Setting, settings_in
from gproc.cli.switch import Switch
from gproc.cli.switches import switches_of
from gproc.cli.table import table
from gproc.cli.trace import Trace
from gproc.shown import shown_text
from gproc.trust.config import config_paths

DEFAULT: Final = "default"
"""The source of a value that no file sets."""


class Held(msgspec.Struct, frozen=True):
    """The default of a switch in the modes in which it is the same, from the same source.  source: in JSON, `from`."""

    switch: str
    modes: tuple[str, ...]
    value: object
    source: str = msgspec.field(name="from")


def run(options: ConfigOptions) -> int:
    files = config_paths(os.environ)
    trace = Trace(options.debug)
    settings = []
    for path, owners in files:
        here = settings_in(path, owners)
        trace.step(f"{path} sets {len(here)} defaults" if os.path.exists(path) else f"{path} is not there")
        for setting in here:
            trace.detail(f"mode {setting.mode}: {setting.field} is {setting.value!r}, from {setting.source}")
        settings += here
    found = held(settings)
    if options.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
        return 0
    rows = [(f"--{each.switch}", ",".join(each.modes), _shown(each.value), each.source) for each in found]
    sys.stdout.write(table(("SWITCH", "MODES", "VALUE", "FROM"), rows))
    for path, _ in files:
        print(shown_text(f"{path}: {'read' if os.path.exists(path) else 'not there'}"))
    return 0


def held(settings: list[Setting]) -> list[Held]:
    """The default of each switch in each mode.  settings: the weaker ones first."""
    set_ = {(setting.mode, setting.field): setting for setting in settings}
    modes: dict[tuple[str, str, str], list[str]] = {}
    values: dict[tuple[str, str, str], object] = {}
    for mode in MODES:
        for switch in switches_of(mode):
            setting = set_.get((mode.letters, switch.field))
            value = setting.value if setting else _default(mode, switch)
            source = setting.source if setting else DEFAULT
            place = (switch.gnu, repr(value), source)
            modes.setdefault(place, []).append(mode.letters)
            values[place] = value
    return [Held(place[0], tuple(modes[place]), values[place], place[2]) for place in sorted(modes)]


def _default(mode: Mode, switch: Switch) -> object:
    return {field.name: field.default for field in msgspec.structs.fields(mode.options)}[switch.field]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "-"
    if value is False:
        return "false"
    return default_text(value) or "-"
