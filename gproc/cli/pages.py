"""The content of help pages and man pages, as values made from the tables of modes and switches.  Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from gproc.cli.modes import MODES, Mode
from gproc.cli.switch import Switch
from gproc.cli.switches import switches_of

ABOUT: Final = "Run a program on every node of a cluster, with nothing installed there but gproc."

GRAMMAR: Final = (
    "Switches can be before or after the mode, as -binRoot=/x or --bin-root /x; one dash or two make no difference."
    " `--` ends the switches. All words after `e NODES COMMAND` belong to it."
)

FIRST_STEPS: Final = (
    "`gproc help MODE` lists the switches of a mode. First steps: `gproc m` in one shell, `gproc s` in another,"
    " then `gproc e . /bin/date`."
)


class Row(msgspec.Struct, frozen=True):
    """A term and its meaning.  spellings: the ways to write it; value: the metavar of its value, or ""."""

    spellings: tuple[str, ...]
    value: str
    text: str

    @property
    def term(self) -> str:
        return ", ".join(self.spellings) + (f" {self.value}" if self.value else "")


class Section(msgspec.Struct, frozen=True):
    title: str
    rows: tuple[Row, ...]


class Page(msgspec.Struct, frozen=True):
    """usage: the line after the program's name."""

    name: str
    usage: str
    summary: str
    paragraphs: tuple[str, ...]
    sections: tuple[Section, ...]
    last: str = ""


_HELP_ROW: Final = Row(("-h", "--help"), "", "Show this page.")
_LONG_HELP_ROW: Final = Row(("--help",), "", "Show this page.")
"""The row of a mode that has a switch -h of its own."""

_ROOT_ROWS: Final = (
    _HELP_ROW,
    Row(("--version",), "", "Show gproc's version."),
    Row(("--install-completion",), "[SHELL]", "Install completion for bash, zsh or fish."),
    Row(("--show-completion",), "[SHELL]", "Print the completion script of a shell."),
)


def root_page() -> Page:
    modes = tuple(Row((mode.letters, *mode.names()[1:]), "", mode.help) for mode in MODES)
    return Page(
        "gproc",
        "[switches] MODE ...",
        ABOUT,
        (GRAMMAR,),
        (Section("Modes", modes), Section("Switches", _ROOT_ROWS)),
        FIRST_STEPS,
    )


def mode_page(mode: Mode) -> Page:
    arguments = tuple(Row((argument.metavar,), "", f"{argument.help}.") for argument in mode.arguments)
    also = mode.names()[1:]
    paragraphs = (mode.more, f"This mode is also called {' and '.join(also)}." if also else "")
    sections = [Section("Arguments", arguments)] if arguments else []
    has_own = any("h" in switch.spellings() for switch in switches_of(mode))
    help_row = _LONG_HELP_ROW if has_own else _HELP_ROW
    return Page(
        f"gproc {mode.letters}",
        " ".join(("[switches]", *mode.metavars())),
        mode.help,
        tuple(filter(None, paragraphs)),
        (*sections, Section("Switches", (*(_row(mode, switch) for switch in switches_of(mode)), help_row))),
    )


def default_text(value: object) -> str:
    """A default as pages and `gproc config` show it; "" if there is none to show."""
    if value is None or value == "" or value == () or value is False:
        return ""
    if value is True:
        return "true"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(mode: Mode, switch: Switch) -> Row:
    default = default_text({field.name: field.default for field in msgspec.structs.fields(mode.options)}[switch.field])
    # 0 is the default of -debug, and says nothing.
    text = switch.help + (f" [default: {default}]" if default not in ("", "0") else "")
    return Row(switch.shown(), switch.metavar, text)
