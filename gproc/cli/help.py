"""Help pages, made by Typer from the tables of modes and switches.

Typer never parses a command line that is carried out: it is imported here alone, and this module only where
a person waits for a page (importing it takes 50 ms).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Final

import msgspec
import typer
from typer.main import get_command

from gproc.cli.modes import MODES, Mode
from gproc.cli.switches import Switch, switches_of

_PROGRAM: Final = "gproc"

_ABOUT: Final = """Run a program on every node of a cluster, with nothing installed there but gproc.

Switches stand before or after the mode, as -binRoot=/x or --bin-root /x; one dash or two make no
difference. All that follows `e NODES COMMAND` belongs to the command."""

_EPILOG: Final = """`gproc help MODE` lists the switches of a mode. First steps: `gproc m` in one
shell, `gproc s` in another, then `gproc e . /bin/date`."""


def show(mode_name: str) -> int:
    """Print the page of a mode, or of gproc itself where the name is empty."""
    modes = [mode.letters for mode in MODES if mode.name == mode_name]
    return _call([*modes, "--help"])


def _call(arguments: Sequence[str]) -> int:
    try:
        get_command(_application()).main(list(arguments), prog_name=_PROGRAM)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def _application() -> typer.Typer:
    application = typer.Typer(
        help=_ABOUT,
        epilog=_EPILOG,
        options_metavar="[switches]",
        add_completion=False,
        subcommand_metavar="MODE ...",
        # Without rich: its panels give each spelling a column and leave 22 of 80 for the text.
        rich_markup_mode=None,
        context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]},
    )
    application.callback()(_root)
    for mode in MODES:
        for name in mode.names():
            application.command(
                name,
                help=_text(mode),
                short_help=mode.help,
                options_metavar=" ".join(("[switches]", *mode.metavars())),
                hidden=name != mode.letters,
            )(_command(mode))
    return application


def _root(
    version: Annotated[bool, typer.Option("--version", help="Show gproc's version.")] = False,
) -> None:
    """Parsed by `gproc.cli.parse`; here so that the page names it."""


def _text(mode: Mode) -> str:
    """The page above the switches; after a line of \b click leaves the lines of a paragraph alone."""
    paragraphs = [f"{mode.help} {mode.more}"]
    if mode.arguments:
        width = max(len(argument.metavar) for argument in mode.arguments)
        lines = [f"{argument.metavar:{width}}  {argument.help}" for argument in mode.arguments]
        paragraphs.append("\n".join(["\b", *lines]))
    also = mode.names()[1:]
    if also:
        paragraphs.append(f"This mode is also called {' and '.join(also)}.")
    return "\n\n".join(paragraphs)


def _command(mode: Mode) -> Callable[..., None]:
    """A function that does nothing, with the signature that makes Typer show this mode's switches."""

    def command(**_values: object) -> None: ...

    parameters = list(_switch_parameters(mode))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _switch_parameters(mode: Mode) -> Iterator[inspect.Parameter]:
    defaults = {field.name: field.default for field in msgspec.structs.fields(mode.options)}
    for switch in switches_of(mode):
        kind = str if switch.kind.takes_value else bool
        yield inspect.Parameter(
            switch.field,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if switch.kind.takes_value else defaults[switch.field],
            annotation=Annotated[kind, _option(switch, defaults[switch.field])],
        )


def _option(switch: Switch, default: object) -> object:
    spellings = [shown for shown in switch.shown() if shown != f"--{switch.negative}"]
    if switch.negative:
        spellings[-1] += f"/--{switch.negative}"
    text = switch.help
    if default:
        text += f" [default: {'true' if default is True else default}]"
    return typer.Option(*spellings, metavar=switch.metavar or None, help=text, show_default=False)
