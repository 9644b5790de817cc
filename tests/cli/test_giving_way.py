"""`label = true` in a user's file made `gproc e -b`, `--json`, `--outdir`, `-d` and `-t` fail with status 2."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import cast

import pytest

from gproc.cli.exec import check_collecting, check_sending, check_showing, check_terminal
from gproc.cli.kinds import FLAG
from gproc.cli.logs import check_tasks
from gproc.cli.map import check_detached, check_output
from gproc.cli.modes import MODES, mode_named
from gproc.cli.options import ExecOptions, LogsOptions
from gproc.cli.parse import parse
from gproc.cli.program_options import MapOptions
from gproc.cli.switch import Switch
from gproc.cli.switches import switches_of
from gproc.errors import UsageError
from tests.cli.test_parse import A_VALUE

WORDS = {"e": (".", "prog"), "map": (".", "prog"), "logs": ("7",)}
VALUES = {**A_VALUE, "on_disconnect": "detach"}


def parsed(mode: str, defaults: Mapping[str, object], *switches: str) -> object:
    return parse([mode, *switches, *WORDS[mode]], lambda _: defaults)


def check(options: object) -> None:
    """What the modes check before they do anything."""
    if isinstance(options, ExecOptions):
        check_showing(options)
        check_collecting(options)
        check_sending(options)
        if options.tty and not options.detach:
            check_terminal(options)
        if options.max_fail and not options.fanout:
            raise UsageError("as client.requests says it")
    elif isinstance(options, MapOptions):
        check_output(options)
        check_detached(options)
        check_sending(options)
    else:
        check_tasks(cast(LogsOptions, options))


def is_fine(make: Callable[[], object]) -> bool:
    try:
        check(make())
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("mode", WORDS)
def test_a_default_never_forbids_a_switch(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: True)
    named = mode_named(mode)
    assert named is not None
    known = switches_of(named)

    def said(switch: Switch) -> str:
        value = "true" if switch.kind is FLAG else VALUES.get(switch.field, "some")
        return f"--{switch.gnu}={value}"

    defaults = {each.field: getattr(parsed(mode, {}, said(each)), each.field) for each in known}
    for given in known:
        if not is_fine(lambda given=given: parsed(mode, {}, said(given))):  # type: ignore[misc]
            continue  # it needs another
        for field, value in defaults.items():
            if field != given.field:
                both = parsed(mode, {field: value}, said(given))
                check(both)
                assert getattr(both, given.field) == defaults[given.field]


def test_the_command_line_is_obeyed_and_what_goes_with_it_stays() -> None:
    defaults = {"label": True, "sort": True, "nice": 3, "live": True}
    plain = parsed("e", defaults)
    assert isinstance(plain, ExecOptions)
    assert (plain.label, plain.sort, plain.nice, plain.live) == (True, True, 3, False)
    gathered = parsed("e", defaults, "-b")
    assert isinstance(gathered, ExecOptions)
    shown = (gathered.label, gathered.sort, gathered.gather, gathered.nice, gathered.live)
    assert shown == (False, False, True, 3, True)
    refused = parsed("e", {"on_disconnect": "detach"}, "--collect=x")
    assert isinstance(refused, ExecOptions)
    assert refused.on_disconnect == "end"


def test_a_switch_that_is_switched_off_forbids_no_default() -> None:
    options = parsed("e", {"label": True}, "--json=false")
    assert isinstance(options, ExecOptions)
    assert options.label


def test_two_switches_of_the_command_line_contradict_each_other_as_ever() -> None:
    with pytest.raises(UsageError, match="do not go together"):
        check(parsed("e", {}, "-b", "--json"))


def test_every_mode_with_contradictions_is_one() -> None:
    from gproc.cli.giving_way import CONTRADICTIONS, NEEDS

    for table in (CONTRADICTIONS, NEEDS):
        assert set(table) <= {mode.letters for mode in MODES}
    for mode, pairs in CONTRADICTIONS.items():
        named = mode_named(mode)
        assert named is not None
        fields = {switch.field for switch in switches_of(named)}
        assert {field for one, other in pairs for field in one | other} <= fields


@pytest.mark.parametrize(
    "word", ["--trace", "--venv=v", "--image=i", "-r=/root", "-f=x", "-L=/lib", "--with-package"], ids=str
)
def test_what_is_about_sending_does_not_go_with_a_nodes_own_program(word: str) -> None:
    """-f, -r, -L and --with-package were dropped without a word."""
    with pytest.raises(UsageError, match="and -localbin sends nothing"):
        check(parsed("e", {}, "-localbin", word))
    given = parsed("e", {"files": ("x",), "root": "/r", "with_package": True}, "-localbin")
    assert isinstance(given, ExecOptions)
    assert (given.files, given.root, given.with_package) == ((), "/", False)
