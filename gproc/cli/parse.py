"""Parses a command line into a value.  Pure: it reads only the given words.

Grammar (docs/reference.md): `gproc [switches] MODE ...`, with switches before or after the mode, in the
spelling of the original (`-binRoot=/x`, `-binRoot /x`, `-p`, `-p=false`, after Go's flag package) or of GNU
(`--bin-root /x`, `--no-private`).  `--` ends the switches.  All words after `e NODES COMMAND` belong to the command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from gproc.cli.kinds import SIGNAL
from gproc.cli.modes import MODES, Mode, mode_named
from gproc.cli.options import (
    Command,
    CompletionQuestion,
    CompletionRequest,
    HelpRequest,
    ModeOptions,
    VersionRequest,
)
from gproc.cli.switch import Switch
from gproc.cli.switches import SWITCHES, switches_named
from gproc.errors import UsageError
from gproc.shown import quoted_text

HELP_NAMES: Final = ("h", "help")
COMPLETION_NAMES: Final = ("install-completion", "show-completion")
QUESTION_NAME: Final = "__complete"
"""The hidden command of the shells' scripts: gproc.cli.completing."""

USAGE: Final = "gproc [switches] MODE ..."


class _Given(NamedTuple):
    """A switch as it was found: its name without dashes, as it was written, and its value, if it has one."""

    name: str
    written: str
    text: str | None


def parse(argv: Sequence[str], defaults: Callable[[Mode], Mapping[str, object]] = lambda _: {}) -> Command:
    """What the command line asks for.  argv: without the program's own name.

    defaults: the values of a mode's switches, by field, for those that the command line does not set.

    Raises: UsageError, which names the wrong word and what is wanted in its place.
    """
    if argv and argv[0] == QUESTION_NAME:
        return CompletionQuestion(tuple(argv[1:]))
    given: list[_Given] = []
    words: list[str] = []
    mode: Mode | None = None
    switches_end = False
    held: Mapping[str, object] | None = None
    rest = iter(argv)
    for word in rest:
        if word == "--" and not switches_end:
            switches_end = True
        elif word.startswith("-") and word != "-" and not switches_end:
            name = _name(word)
            if name in HELP_NAMES and not _takes(mode, name):
                return _help(mode, rest)
            if name == "version":
                return VersionRequest()
            if name in COMPLETION_NAMES:
                return CompletionRequest((word, *rest))
            given.append(_given(word, name, rest, mode or _mode_to_come(argv)))
        elif mode is None:
            if word == "help":
                return _help(None, rest)
            mode = _mode(word)
        else:
            words.append(word)
            held = defaults(mode) if held is None else held
            arguments = mode.arguments_without(_replaced(mode, given, held))
            if arguments and arguments[-1].takes == "rest" and len(words) == len(arguments):
                words.extend(rest)
    if mode is None:
        raise UsageError(f"a mode is wanted: {_modes()}\nusage: {USAGE}")
    return _options(mode, given, words, defaults(mode) if held is None else held)


def _name(word: str) -> str:
    name = (word[2:] if word.startswith("--") else word[1:]).partition("=")[0]
    if not name or name.startswith("-"):
        raise UsageError(f"{quoted_text(word)} is no switch: a name is wanted after one or two dashes")
    return name


def _mode_to_come(argv: Sequence[str]) -> Mode | None:
    """The first word that is a mode; the words before it are not parsed yet."""
    return next((mode for word in argv if (mode := mode_named(word)) is not None), None)


def _takes(mode: Mode | None, name: str) -> bool:
    """Whether the mode has a switch of that name: `gproc start -h 80` is no question for help, as in startkane."""
    return mode is not None and any(mode.letters in switch.modes for switch in switches_named(name))


def _given(word: str, name: str, rest: Iterator[str], mode: Mode | None) -> _Given:
    """The switch, and its value: if it takes one, the next word, whatever it looks like, as in Go."""
    written, equals, text = word.partition("=")
    switches = switches_named(name)
    if not switches:
        shown = {shown.lstrip("-"): shown for switch in SWITCHES for shown in switch.shown()}
        near = _as_signal(mode, name) or nearest(name, shown) or "; `gproc help MODE` lists them"
        raise UsageError(f"there is no switch {written}{near}")
    # -l is --label of e, and --low of start, which a value follows.
    fitting = [switch for switch in switches if mode is not None and mode.letters in switch.modes]
    kind = (fitting or switches)[0].kind
    if equals:
        return _Given(name, written, text)
    value = next(rest, None) if kind.takes_value else None
    if value is None and kind.takes_value:
        raise UsageError(f"{written} wants a value: {kind.wanted}")
    return _Given(name, written, value)


def _as_signal(mode: Mode | None, name: str) -> str:
    """The end of a sentence about -9 or -KILL, as kill(1) has them; "" for anything else."""
    if mode is None or mode.letters != "kill":
        return ""
    try:
        SIGNAL.read(name)
    except ValueError:
        return ""
    return f"; gproc kill -s {name} sends that signal"


def _help(mode: Mode | None, rest: Iterator[str]) -> HelpRequest:
    """A request for the help page of the mode, or else of the mode that the next word names."""
    following = next(rest, "-")
    if mode is None and not following.startswith("-"):
        mode = _mode(following)
        if (extra := next(rest, "-")) and not extra.startswith("-"):
            raise UsageError(f"{quoted_text(extra)} is one word too many: `gproc help {mode.name}`")
    return HelpRequest(mode.name if mode else "")


def _mode(word: str) -> Mode:
    mode = mode_named(word)
    if mode is None:
        near = nearest(word, {name: name for mode in MODES for name in mode.names()})
        wanted = near or f": one of {_modes()} is wanted"
        raise UsageError(f"there is no mode {quoted_text(word)}{wanted}\nusage: {USAGE}")
    return mode


def _modes() -> str:
    return ", ".join("/".join(mode.names()) for mode in MODES)


def _options(mode: Mode, given: Iterable[_Given], words: list[str], defaults: Mapping[str, object]) -> ModeOptions:
    values: dict[str, object] = {}
    for found in given:
        switch = _switch(mode, found)
        value = _value(switch, found)
        if switch.kind.repeats:
            value = (*_tuple(values.get(switch.field)), *_tuple(value))
        values[switch.field] = value
    if defaults:
        from gproc.cli.giving_way import holding  # most users have no such files

        defaults = holding(mode.letters, defaults, values)
    values.update(_arguments(mode, words, _replaced(mode, given, defaults)))
    return msgspec.convert({**defaults, **values}, mode.options)


def _tuple(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()


def _switch(mode: Mode, found: _Given) -> Switch:
    switches = switches_named(found.name)
    for switch in switches:
        if mode.letters in switch.modes:
            return switch
    takers = ", ".join(letters for switch in switches for letters in switch.modes)
    raise UsageError(f"{found.written} does not go with mode {mode.letters}: it is a switch of {takers}")


def _value(switch: Switch, found: _Given) -> object:
    if found.text is None:
        return found.name != switch.negative
    try:
        value = switch.kind.read(found.text)
    except ValueError:
        raise UsageError(f"{found.written}: {quoted_text(found.text)} is not {switch.kind.wanted}") from None
    return not value if found.name == switch.negative else value


def _replaced(mode: Mode, given: Iterable[_Given], defaults: Mapping[str, object]) -> set[str]:
    """The arguments that switches stand for."""
    known = [switch for switch in SWITCHES if switch.instead_of and mode.letters in switch.modes]
    values = {switch.instead_of: defaults.get(switch.field, False) for switch in known}
    for each in given:
        values.update({switch.instead_of: _value(switch, each) for switch in known if each.name in switch.spellings()})
    return {field for field, is_on in values.items() if is_on}


def _arguments(mode: Mode, words: list[str], replaced: set[str]) -> dict[str, object]:
    values: dict[str, object] = {}
    arguments = mode.arguments_without(replaced)
    for index, argument in enumerate(arguments):
        if index >= len(words):
            if argument.takes == "optional" or replaced:
                continue
            which = f": {argument.help}" if argument.takes == "list" else ""
            raise UsageError(f"{argument.metavar} is missing{which}\nusage: {mode.usage()}")
        if argument.takes == "one":
            values[argument.field] = words[index]
        else:
            values[argument.field] = tuple(words[index : index + 1] if argument.takes == "optional" else words[index:])
    takes_all = bool(arguments) and arguments[-1].takes not in ("one", "optional")
    if len(words) > len(arguments) and not takes_all:
        raise UsageError(f"{quoted_text(words[len(arguments)])} is one word too many\nusage: {mode.usage()}")
    return values


def nearest(name: str, known: Mapping[str, str]) -> str:
    """The end of a sentence about an unknown name: the known name that is most like it, in its usual spelling."""
    import difflib  # here, because only a misspelt name needs it

    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {known[near[0]]}?" if near else ""
