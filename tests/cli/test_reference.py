"""docs/reference.md names every mode, switch and exit status that the tables have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gproc import errors
from gproc.cli.modes import MODES, Mode
from gproc.cli.switch import Switch
from gproc.cli.switches import SWITCHES
from gproc.locales import SHIPPED

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in REFERENCE.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_every_mode_has_a_row_with_its_arguments_and_other_names(mode: Mode) -> None:
    (row,) = [row for row in ROWS if row[0] == f"`{' '.join((mode.letters, *mode.metavars()))}`"]
    assert re.findall(r"`(\w+)`", row[1]) == list(mode.names()[1:])


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: f"{switch.gnu}-{switch.modes[0]}")
def test_every_switch_has_a_row_with_all_its_spellings_and_modes(switch: Switch) -> None:
    modes = ["all"] if len(switch.modes) == len(MODES) else list(switch.modes)
    rows = [row for row in ROWS if re.findall(r"`(-[-\w]+)`", f"{row[0]} {row[1]}") == list(switch.shown())]
    assert modes in [row[2].split() for row in rows]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_locale_has_a_row(name: str) -> None:
    assert [row for row in ROWS if row[0].startswith(f"`{name}`")]


STATUSES = [name for name in vars(errors) if name.startswith("EXIT_") and name != "EXIT_SIGNAL_BASE"]


@pytest.mark.parametrize("name", STATUSES)
def test_every_exit_status_of_gprocs_own_has_a_row(name: str) -> None:
    assert [row for row in ROWS if row[0] == str(getattr(errors, name))]
