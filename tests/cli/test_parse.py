"""The grammar of the command line."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.cli.modes import MODES, Mode
from gproc.cli.node_options import StartOptions
from gproc.cli.options import (
    BundleOptions,
    CertOptions,
    CompletionRequest,
    CpOptions,
    ExecOptions,
    GetOptions,
    HelpRequest,
    InfoOptions,
    MasterOptions,
    SlaveOptions,
    VersionRequest,
)
from gproc.cli.parse import parse
from gproc.cli.switch import Switch
from gproc.cli.switches import SWITCHES, switches_of
from gproc.errors import UsageError

A_VALUE = {
    "bin_root": "/x",
    "state": "/x",
    "on_disconnect": "detach",
    "signal": "INT",
    "root": "/foreign",
    "cmd_port": "7000",
    "link_timeout_s": "0.5",
    "orphan_timeout_s": "5",
    "exit_after_s": "900",
    "timeout_s": "90",
    "env": "A=1,2",
    "max_procs": "64",
    "max_fail": "3",
    "mem_bytes": "512M",
    "store_bytes": "8G",
    "require": "all",
    "prune_bytes": "1G",
    "cpus": "2",
    "nice": "-5",
    "low": "2",
    "high": "80",
    "fanout": "8",
    "parallel": "4",
    "per_node": "4",
    "task_timeout_s": "90",
    "connect_timeout_s": "2.5",
    "debug": "3",
}
"""A value for each switch that does not take any text."""

ARGUMENTS = {"e": [".", "date"], "map": [".", "date"], "bundle": ["date"], "cert": ["kn1"],
             "cp": ["a", "1:/x"], "get": ["1:/x", "d"],
             "restart": ["1"], "remove": ["1"],
             "logs": ["last"], "attach": ["last"], "wait": ["last"], "kill": ["last"], "stacks": ["last"],
             "rm": ["last"],
             "policy": ["check"], "key": ["list"]}  # fmt: skip

PAIRS = [(mode, switch) for mode in MODES for switch in switches_of(mode)]


def refusal(*argv: str) -> str:
    with pytest.raises(UsageError) as refused:
        parse(argv)
    assert refused.value.exit_status == 2
    return str(refused.value)


def words(switch: Switch, name: str) -> list[str]:
    return [name, A_VALUE.get(switch.field, "some")] if switch.kind.takes_value else [name]


def named(pair: tuple[Mode, Switch]) -> str:
    return f"{pair[0].letters}-{pair[1].gnu}"


@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_a_switch_means_the_same_in_every_spelling_and_before_and_after_the_mode(
    pair: tuple[Mode, Switch],
) -> None:
    mode, switch = pair
    arguments = ARGUMENTS.get(mode.letters, [])
    without = parse([mode.letters, *arguments])
    names = [name for name in switch.shown() if name != f"--{switch.negative}"]
    seen = []
    for name in names + [f"-{name}" for name in names if not name.startswith("--")]:
        given_words = words(switch, name)
        if name.lstrip("-") != "h":  # which asks for help there
            seen.append(parse([*given_words, mode.letters, *arguments]))
        seen.append(parse([mode.letters, *given_words, *arguments]))
        if switch.kind.takes_value:
            seen.append(parse([mode.letters, "=".join(given_words), *arguments]))
    assert all(options == seen[0] for options in seen)
    assert switch.field == "private" or seen[0] != without


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_the_tables_and_the_options_of_a_mode_name_the_same_fields(mode: Mode) -> None:
    in_tables = {switch.field for switch in switches_of(mode)} | {a.field for a in mode.arguments}
    assert in_tables == set(mode.options.__struct_fields__)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_no_mode_takes_two_switches_of_one_spelling(mode: Mode) -> None:
    spellings = [name for switch in switches_of(mode) for name in switch.spellings()]
    assert len(spellings) == len(set(spellings))


def test_switches_of_one_spelling_agree_on_whether_a_value_follows_but_for_three() -> None:
    takes_value: dict[str, bool] = {}
    for switch in SWITCHES:
        for name in switch.spellings():
            if takes_value.setdefault(name, switch.kind.takes_value) != switch.kind.takes_value:
                assert name in ("l", "f", "a")


def test_the_switches_of_startkane_have_its_letters() -> None:
    for words in (["start", "-l", "1", "-h", "80", "2"], ["-l", "1", "start", "-h=80", "2"]):
        assert parse(words) == StartOptions(low=1, high=80, level=("2",))
    assert parse(["-l", "e", ".", "date"]) == ExecOptions(nodes=".", command=("date",), label=True)
    assert parse(["start", "--help"]) == parse(["-h", "start"]) == HelpRequest("start")


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_every_name_of_a_mode_means_that_mode(mode: Mode) -> None:
    arguments = ARGUMENTS.get(mode.letters, [])
    assert {type(parse([name, *arguments])) for name in mode.names()} == {mode.options}


def test_defaults_are_those_of_the_original() -> None:
    assert parse(["m"]) == MasterOptions(bin_root="/tmp/xproc", socket="/tmp/g", locale="local", cmd_port=6666, debug=0)
    assert parse(["s"]) == SlaveOptions(private=True)
    assert parse(["e", ".", "date"]) == ExecOptions(nodes=".", command=("date",), local_bin=False, files=())
    assert parse(["i"]) == InfoOptions(socket="/tmp/g")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("-locale=kane -debug=3 m", MasterOptions(locale="kane", debug=3)),
        ("-locale=kf -debug=3 m", MasterOptions(locale="kf", debug=3)),
        ("e ./. /bin/date", ExecOptions(nodes="./.", command=("/bin/date",))),
        ("e . /bin/date", ExecOptions(nodes=".", command=("/bin/date",))),
        ("-localbin=false -p=true -debug=0 s", None),
        ("-p=true -debug=0 -binRoot=/tmp/xproc -locale=local -cmdport=6666 s", SlaveOptions()),
        ("-localbin=false -f= -binRoot=/tmp/xproc -defaultMasterUDS=/tmp/g e 1-80 date", ExecOptions(nodes="1-80", command=("date",), bin_root="/tmp/xproc")),  # noqa: E501
    ],
)  # fmt: skip
def test_command_lines_of_the_originals_readme_parse(line: str, meant: object) -> None:
    if meant is None:
        assert "does not go with mode s" in refusal(*line.split())
    else:
        assert parse(line.split()) == meant


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_gos_words_for_true_are_true(text: str) -> None:
    assert parse([f"-p={text}", "s"]) == parse(["s", f"--private={text}"]) == SlaveOptions(private=True)
    assert parse([f"--no-private={text}", "s"]) == SlaveOptions(private=False)


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_gos_words_for_false_are_false(text: str) -> None:
    assert parse([f"-p={text}", "s"]) == parse(["s", "--no-private"]) == SlaveOptions(private=False)


def test_the_last_of_a_repeated_switch_holds() -> None:
    assert parse(["-p=false", "s", "-p", "-debug", "1", "-debug=2"]) == SlaveOptions(debug=2)


def test_all_words_after_the_command_belong_to_it() -> None:
    assert parse(["e", ".", "ls", "-l", "--", "-h", "--version"]) == ExecOptions(
        nodes=".", command=("ls", "-l", "--", "-h", "--version")
    )
    assert parse(["e", "-l", ".", "-n", "ls"]) == ExecOptions(nodes=".", command=("ls",), label=True, no_stdin=True)


def test_two_dashes_end_the_switches() -> None:
    assert parse(["e", ".", "--", "-odd", "-l"]) == ExecOptions(nodes=".", command=("-odd", "-l"))
    assert parse(["--", "e", ".", "ls"]) == ExecOptions(nodes=".", command=("ls",))
    assert parse(["e", "--", ".", "--", "-x"]) == ExecOptions(nodes=".", command=("--", "-x"))


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["bundle", "--", "-x"], BundleOptions(command=("-x",))),
        (["cp", "--", "-a", "1:/x"], CpOptions(words=("-a", "1:/x"))),
        (["get", "--", "1:/x", "-d"], GetOptions(source="1:/x", directory="-d")),
        (["cert", "--", "-n"], CertOptions(names=("-n",))),
    ],
)
def test_two_dashes_end_the_switches_of_every_verb(argv: Sequence[str], meant: object) -> None:
    assert parse(argv) == meant


def test_lists_are_split_at_commas_and_joined_when_repeated() -> None:
    options = parse(["-f", "a,b", "e", "-f=c,", "--library-path=/l,/m", ".", "x"])
    assert options == ExecOptions(nodes=".", command=("x",), files=("a", "b", "c"), library_path=("/l", "/m"))


def test_an_assignment_keeps_its_commas_and_equals_signs() -> None:
    options = parse(["e", "--env", "A=1,2=3", "--env=HOME", "--env=E=", ".", "x"])
    assert options == ExecOptions(nodes=".", command=("x",), env=("A=1,2=3", "HOME", "E="))


@pytest.mark.parametrize(("text", "size_bytes"), [("1", 1), ("512M", 512 << 20), ("2g", 2 << 30), ("1K", 1024)])
def test_sizes_take_binary_suffixes(text: str, size_bytes: int) -> None:
    assert parse(["e", f"--mem={text}", ".", "x"]) == ExecOptions(nodes=".", command=("x",), mem_bytes=size_bytes)


@pytest.mark.parametrize(("text", "timeout_s"), [("90", 90.0), ("1.5", 1.5), (".25", 0.25), ("3.", 3.0)])
def test_seconds_may_have_a_fraction(text: str, timeout_s: float) -> None:
    assert parse(["e", "-timeout", text, ".", "x"]) == ExecOptions(nodes=".", command=("x",), timeout_s=timeout_s)


def test_the_further_modes_take_their_arguments() -> None:
    assert parse(["bundle", "-f", "a", "--tar=x.tar", "date"]) == BundleOptions(
        command=("date",), files=("a",), tar="x.tar"
    )
    assert parse(["cert", "kn1", "--out", "d", "kn2", "--address=10.0.0.1,10.0.0.2"]) == CertOptions(
        names=("kn1", "kn2"), out="d", addresses=("10.0.0.1", "10.0.0.2")
    )


def test_the_bytes_of_a_file_name_that_is_no_text_survive() -> None:
    assert parse(["e", ".", "\udcff"]) == ExecOptions(nodes=".", command=("\udcff",))


@pytest.mark.parametrize(
    ("argv", "name"),
    [(["-h"], ""), (["help"], ""), (["e", "--help"], "exec"), (["-help", "s"], "slave"),
     (["help", "worker"], "slave"), (["-l", "e", ".", "-h", "ls"], "exec")],
)  # fmt: skip
def test_help_is_found_anywhere_before_the_command(argv: Sequence[str], name: str) -> None:
    assert parse(argv) == HelpRequest(name)


def test_help_takes_one_mode() -> None:
    """A second word was dropped without a sound."""
    with pytest.raises(UsageError, match="'x' is one word too many: `gproc help exec`"):
        parse(["help", "e", "x"])


def test_version_and_completion_need_no_mode() -> None:
    assert parse(["--version"]) == parse(["e", "-version"]) == VersionRequest()
    assert parse(["--show-completion", "bash"]) == CompletionRequest(("--show-completion", "bash"))


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], ("mode", "usage:")),
        (["x"], ("'x'", "e/exec")),
        (["help", "x"], ("'x'", "e/exec")),
        (["excc", ".", "ls"], ("'excc'", "did you mean exec?", "usage:")),
        (["help", "bundel"], ("'bundel'", "did you mean bundle?")),
        (["-localbn", "e"], ("-localbn", "did you mean -localbin?")),
        (["e", "--bin-rot=/x", ".", "ls"], ("--bin-rot", "did you mean --bin-root?")),
        (["key"], ("WORDS is missing: issue HOST..., list, revoke NAME...", "usage:")),
        (["kill", "-9", "night"], ("-9", "gproc kill -s 9 sends that signal")),
        (["kill", "-KILL", "night"], ("-KILL", "gproc kill -s KILL sends that signal")),
        (["-zzzz", "e"], ("-zzzz", "gproc help")),
        (["-localbin", "m"], ("-localbin", "mode m", "switch of e")),
        (["s", "--socket=/x"], ("--socket", "mode s", "m, e, map, cp, get, i")),
        (["e"], ("NODES", "usage: gproc [switches] e NODES COMMAND...")),
        (["e", "."], ("COMMAND", "usage: gproc [switches] e NODES COMMAND...")),
        (["bundle"], ("COMMAND", "usage:")),
        (["cert"], ("NAME", "usage:")),
        (["m", "extra"], ("'extra'", "usage: gproc [switches] m")),
        (["-cmdport=65536", "m"], ("-cmdport", "'65536'", "0 to 65535")),
        (["-cmdport=6_6", "m"], ("'6_6'",)),
        (["-debug=11", "i"], ("'11'", "0 to 10")),
        (["-debug=-1", "i"], ("'-1'", "0 to 10")),
        (["-debug=٣", "i"], ("0 to 10",)),
        (["-binRoot=relative", "m"], ("'relative'", "absolute path")),
        (["m", "-binRoot"], ("-binRoot", "absolute path")),
        (["-p=maybe", "s"], ("-p:", "'maybe'", "true or false")),
        (["--timeout=0", "e", ".", "x"], ("--timeout", "above 0")),
        (["--timeout=nan", "e", ".", "x"], ("'nan'", "above 0")),
        (["--mem=1X", "e", ".", "x"], ("'1X'", "512M")),
        (["--mem=M", "e", ".", "x"], ("'M'", "512M")),
        (["--env==1", "e", ".", "x"], ("'=1'", "NAME=VALUE")),
        (["---p", "s"], ("'---p'",)),
        (["-=p", "s"], ("'-=p'",)),
    ],
)  # fmt: skip
def test_the_message_about_a_wrong_command_line_says_what_is_wrong_and_what_is_wanted(
    argv: Sequence[str], told: Sequence[str]
) -> None:
    message = refusal(*argv)
    assert [part for part in told if part not in message] == []


WORDS = st.one_of(
    st.sampled_from([name for mode in MODES for name in mode.names()] + ["help", "--", "-", ".", "-h"]),
    st.sampled_from([name for switch in SWITCHES for name in switch.shown()]),
    st.builds(
        "{}={}".format,
        st.sampled_from([name for switch in SWITCHES for name in switch.shown()]),
        st.one_of(st.text(max_size=8), st.sampled_from(list(A_VALUE.values()))),
    ),
    st.text(max_size=8),
    st.text(max_size=8).map("-{}".format),
)


@given(st.lists(WORDS, max_size=8))
def test_any_command_line_is_understood_or_refused(argv: list[str]) -> None:
    try:
        command = parse(argv)
    except UsageError as refused:
        assert str(refused)
    else:
        assert isinstance(command, msgspec.Struct)


@given(st.lists(WORDS, max_size=6))
def test_words_after_the_command_are_not_parsed(tail: list[str]) -> None:
    assert parse(["e", ".", "ls", *tail]) == ExecOptions(nodes=".", command=("ls", *tail))


@given(st.lists(st.sampled_from(switches_of(MODES[2])), max_size=5), st.integers(0, 5), st.data())
def test_the_place_of_a_switch_makes_no_difference(switches: list[Switch], before: int, data: st.DataObject) -> None:
    given_words = [words(switch, data.draw(st.sampled_from(switch.shown()))) for switch in switches]
    first = [word for words_of_one in given_words[:before] for word in words_of_one]
    second = [word for words_of_one in given_words[before:] for word in words_of_one]
    assert parse([*first, "e", *second, ".", "ls"]) == parse([*first, *second, "exec", ".", "ls"])


def test_a_switch_can_stand_for_an_argument_so_that_the_next_word_is_the_command() -> None:
    """`gproc e --retry-failed`: its nodes are known, and its command need not be said."""
    for words, command in (([], ()), (["date", "-x", "1"], ("date", "-x", "1"))):
        options = parse(["e", "--retry-failed", *words])
        assert isinstance(options, ExecOptions)
        assert (options.nodes, options.command, options.exclude) == ("", command, "")
    options = parse(["e", "--retry-failed=false", "1", "date"])
    assert isinstance(options, ExecOptions) and (options.nodes, options.command) == ("1", ("date",))
    with pytest.raises(UsageError, match="COMMAND is missing"):
        parse(["e", "1"])
