"""The words that can follow on an unfinished command line.  Pure: it reads only the tables of modes and switches.

`gproc.cli.completing` calls this, adds connected nodes and locales, and prints the answer for the scripts of
`gproc.cli.shells`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gproc.cli.kinds import FLAG, Offer
from gproc.cli.modes import MODES, Argument, Mode, mode_named
from gproc.cli.switch import Switch
from gproc.cli.switches import SWITCHES, switches_named, switches_of

Candidate = tuple[str, str]
"""A word, and what it means."""


class Completion(msgspec.Struct, frozen=True):
    """What can stand in the place of the last word.

    candidates: whole words.  offer: the kind of further words.  prefix: the finished part of the last word.
    given: the values of switches before it, by field: `--socket` says which master knows the nodes.
    """

    candidates: tuple[Candidate, ...] = ()
    offer: Offer = ""
    prefix: str = ""
    given: tuple[tuple[str, str], ...] = ()


class _Line(msgspec.Struct):
    """The state of the line after the words before the last one."""

    mode: Mode | None = None
    arguments: int = 0
    wanting: Switch | None = None
    ended: bool = False
    helping: bool = False
    switches: tuple[Switch, ...] = ()
    given: tuple[tuple[str, str], ...] = ()

    @property
    def in_command(self) -> bool:
        """Whether all further words belong to the command of `e`."""
        wanted = self.wanted
        return bool(wanted and wanted[-1].takes == "rest" and self.arguments >= len(wanted))

    @property
    def wanted(self) -> tuple[Argument, ...]:
        """The arguments of its mode, without those that switches stand for."""
        replaced = {switch.instead_of for switch in self.switches}
        return () if self.mode is None else self.mode.arguments_without(replaced)


def complete(words: Sequence[str]) -> Completion:
    """words: all after `gproc` up to the cursor; the last one, which may be empty, is to be completed."""
    *before, last = words or ("",)
    line = _read(before)
    answer = _answer(line, last)
    return msgspec.structs.replace(answer, given=line.given)


def _read(words: Sequence[str]) -> _Line:
    """Read the words by the grammar of `gproc.cli.parse`, and skip what is wrong."""
    line = _Line()
    to_come = next((mode for word in words if (mode := mode_named(word)) is not None), None)
    for word in words:
        if line.in_command:
            break
        if line.wanting is not None:
            line.given = (*line.given, (line.wanting.field, word))
            line.wanting = None
        elif word == "--" and not line.ended:
            line.ended = True
        elif word.startswith("-") and word != "-" and not line.ended:
            _read_switch(line, word, line.mode or to_come)
        elif line.mode is None:
            line.mode = mode_named(word)
            line.helping = line.helping or word == "help"
        else:
            line.arguments += 1
    return line


def _read_switch(line: _Line, word: str, mode: Mode | None) -> None:
    """mode: the one that the line has or will have: -f is --files of e, and --follow of logs."""
    written, equals, text = word.partition("=")
    found = switches_named(written.lstrip("-"))
    fitting = [switch for switch in found if mode is not None and mode.letters in switch.modes]
    for switch in (fitting or found)[:1]:
        line.switches = (*line.switches, switch)
        if equals:
            line.given = (*line.given, (switch.field, text))
        elif switch.kind.takes_value:
            line.wanting = _of_mode(line, written.lstrip("-"))


def _answer(line: _Line, last: str) -> Completion:
    if line.in_command:
        return Completion(offer="file")
    if line.wanting is not None:
        return _value(line.wanting, last, "")
    if line.helping:
        return Completion(_modes(last))
    if last.startswith("-") and not line.ended:
        written, equals, text = last.partition("=")
        if not equals:
            return Completion(_switches(line, last))
        switch = _of_mode(line, written.lstrip("-"))
        return _value(switch, text, f"{written}=") if switch else Completion()
    if line.mode is None:
        page = (("help", "Show a help page."),) if "help".startswith(last) and not line.switches else ()
        return Completion((*_modes(last, line.switches), *page))
    argument = _argument(line.wanted, line.arguments)
    if argument is None:
        return Completion(() if line.ended or last else _switches(line, last))
    return _argument_answer(argument, line.arguments, last)


def _argument_answer(argument: Argument, index: int, last: str) -> Completion:
    if argument.offers == "source or node path" and not index:
        return Completion(offer="file")
    if argument.offers == "nodes":
        return Completion(offer="nodes", prefix=_finished(last))
    if argument.offers in ("node path", "source or node path") and ":" in last:
        return Completion()  # only the node knows what it has
    return Completion(offer=argument.offers, prefix=_finished(last) if argument.offers == "node path" else "")


def _argument(wanted: Sequence[Argument], index: int) -> Argument | None:
    if index < len(wanted):
        return wanted[index]
    return wanted[-1] if wanted and wanted[-1].takes != "one" else None


def _value(switch: Switch, text: str, before: str) -> Completion:
    """before: of the same word, up to and with the equals sign."""
    if switch.kind is FLAG:
        return Completion(tuple((f"{before}{word}", "") for word in ("true", "false") if word.startswith(text)))
    finished = _finished(text) if switch.kind.repeats or switch.offers == "nodes" else ""
    return Completion(offer=switch.offers, prefix=before + finished)


def _finished(text: str) -> str:
    """The part of a list that is complete: up to its last comma."""
    return text[: text.rfind(",") + 1]


def _modes(last: str, given: Sequence[Switch] = ()) -> tuple[Candidate, ...]:
    """The modes that take the switches given so far.  Longer names are offered only if the word has begun."""
    names = [
        (name, mode.help)
        for mode in MODES
        if all(mode.letters in _all_modes_of(switch) for switch in given)
        for name in (mode.names() if last else mode.names()[:1])
    ]
    return tuple((name, text) for name, text in names if name.startswith(last))


def _all_modes_of(switch: Switch) -> set[str]:
    return {letters for name in switch.spellings() for other in switches_named(name) for letters in other.modes}


def _switches(line: _Line, last: str) -> tuple[Candidate, ...]:
    """The switches, in the spelling that was begun.  Those with the other number of dashes come only if none fits."""
    known = switches_of(line.mode) if line.mode else SWITCHES
    all_ = {shown: switch.help for switch in known for shown in switch.shown()}
    all_["--help"] = "Show the switches."
    if line.mode is None:
        all_ |= {
            "--version": "Show gproc's version.",
            "--install-completion": "Install completion for a shell.",
            "--show-completion": "Show the completion script for a shell.",
        }
    found = tuple((shown, text) for shown, text in all_.items() if shown.startswith(last))
    if found:
        return found
    dashes = "--" if last.startswith("--") else "-"
    bare = {shown.lstrip("-"): text for shown, text in all_.items()}
    return tuple((dashes + name, text) for name, text in bare.items() if name.startswith(last.lstrip("-")))


def _of_mode(line: _Line, name: str) -> Switch | None:
    switches = switches_named(name)
    fitting = [switch for switch in switches if line.mode is None or line.mode.letters in switch.modes]
    return next(iter((*fitting, *switches)), None)
