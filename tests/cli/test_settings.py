"""Defaults that a site and a user set in files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.cli.defaults import defaults_of
from gproc.cli.giving_way import NEEDS
from gproc.cli.kinds import FLAG
from gproc.cli.modes import MODES, Mode
from gproc.cli.options import CertOptions, ExecOptions, SlaveOptions
from gproc.cli.parse import parse
from gproc.cli.settings import settings_of
from gproc.cli.switches import switches_of
from gproc.errors import EXIT_GPROC, EXIT_USAGE, UsageError
from tests.cli.test_parse import A_VALUE

OWN = frozenset({os.geteuid()})


def file_with(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def gproc(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    home.chmod(0o700)
    return subprocess.run(
        [sys.executable, "-m", "gproc", *words],
        capture_output=True, text=True, env={**os.environ, "GPROC_HOME": str(home)}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_every_switch_of_every_mode_has_the_value_that_it_has_on_the_command_line(mode: Mode) -> None:
    arguments = ["x"] * len(mode.arguments) if mode.letters != "e" else [".", "x"]
    for switch in switches_of(mode):
        flag = switch.kind is FLAG
        value = "true" if flag else A_VALUE.get(switch.field, "some")
        text = f"[{mode.letters}]\n{switch.gnu} = {value if flag else json.dumps(value)}\n"
        fields = {setting.field: setting.value for setting in settings_of("f", text)}
        if switch.field in NEEDS.get(mode.letters, {}):
            continue  # alone it means nothing, and holds nothing
        said = parse([mode.letters, f"--{switch.gnu}={value}", *arguments])
        assert parse([mode.letters, *arguments], lambda _, fields=fields: fields) == said  # type: ignore[misc]


def test_the_command_line_prevails_over_the_user_and_the_user_over_the_site(tmp_path: Path) -> None:
    site = file_with(tmp_path / "site", "[common]\nsocket = '/site'\ntimeout = 9\n[e]\nnice = 3\n")
    user = file_with(tmp_path / "user", "[e]\ntimeout = 1.5\nfiles = ['a', 'b']\n[common]\nnice = 4\ntimeout = 8\n")

    def defaults(mode: Mode) -> dict[str, object]:
        return defaults_of(mode, [(str(site), OWN), (str(user), OWN)])

    expected = ExecOptions(nodes=".", command=("x",), socket="/site", timeout_s=1.5, nice=4, files=("a", "b"))
    assert parse(["e", ".", "x"], defaults) == expected
    said = parse(["e", "--nice=5", "-f", "c", ".", "x"], defaults)
    assert isinstance(said, ExecOptions)
    assert (said.nice, said.files) == (5, ("c",))


def test_a_flag_that_a_file_sets_can_be_unset() -> None:
    fields = {setting.field: setting.value for setting in settings_of("f", "[s]\nprivate = false\n")}
    assert parse(["s"], lambda _: fields) == SlaveOptions(private=False)
    assert parse(["s", "-p"], lambda _: fields) == SlaveOptions(private=True)


def test_a_key_that_is_two_switches_is_read_by_each_in_its_own_way() -> None:
    settings = settings_of("f", "[common]\naddress = '10.0.0.1'\n")
    values = {setting.mode: setting.value for setting in settings}
    single = dict.fromkeys(("m", "s", "start", "restart", "upgrade"), "10.0.0.1")
    assert values == single | dict.fromkeys(("cert", "key"), ("10.0.0.1",))
    assert parse(["cert", "n"], lambda _: {"addresses": values["cert"]}) == CertOptions(
        names=("n",), addresses=("10.0.0.1",)
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[e]\nlable = true", ["[e] lable", "did you mean label?"]),
        ("[e]\ndefaultMasterUDS = '/x'", ["did you mean socket?"]),
        ("[e]\nzzzz = 1", ["`gproc help e` lists them"]),
        ("[common]\nlocal = 'kane'", ["[common] local", "did you mean"]),
        ("[m]\nlabel = true", ["does not go with mode m", "switch of e"]),
        ("[exex]\nlabel = true", ["'exex'", "did you mean [exec]?"]),
        ("label = true", ["label is in no section", "[common]"]),
        ('[m]\nsocket = "/a\\u0000b"', ['socket: "/a\\u0000b" is not a text']),
        ('[e]\nfiles = ["a", "b\\u0000"]', ["files: ", " is not "]),
        (f"[e]\ntimeout = {'9' * 5000}", ["this is not TOML"]),
        (f"[e]\ntimeout = 0x{'f' * 5000}", ["timeout: this number is not a number of seconds"]),
        ("[e]\nlabel = 'yes'", ['[e] label: "yes" is not true or false']),
        ("[e]\nnice = 40", ["nice: 40 is not a whole number from -20 to 19"]),
        ("[e]\nnice = true", ["nice: true is not a whole number"]),
        ("[e]\nenv = ['A=1', 3.5, []]", ["env:", "NAME=VALUE"]),
        ("[e]\nbin-root = 'x'", ['bin-root: "x" is not an absolute path']),
        ("[m]\n\nsocket = 3", ["line 3: [m] socket: 3 is not a text", "a text stands in quotation marks"]),
        ("[e]\nenv = [1, 2]", ["line 2: [e] env: [1, 2] is not NAME=VALUE", "a text stands in quotation marks"]),
        ("[e]\nexclude = 3", ["line 2: [e] exclude: 3 is not"]),
        ('[e]\n"a\\nb" = 3', ["[e] a\\nb: there is no such switch"]),
        ("e = { nice = 40 }", ["config.toml: [e] nice: 40"]),
        ("[e", ["this is not TOML"]),
    ],
)
def test_a_fault_in_a_file_is_named_with_the_file_and_a_remedy(text: str, told: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        settings_of("/etc/gproc/config.toml", text)
    assert str(refused.value).startswith("/etc/gproc/config.toml: ")
    assert [part for part in told if part not in str(refused.value)] == []


@given(st.text(max_size=60))
def test_any_text_is_settings_or_is_refused(text: str) -> None:
    for before in ("", "[e]\n", "[e]\nenv = "):
        try:
            settings_of("f", before + text)
        except UsageError as refused:
            assert str(refused).startswith("f: ")


def test_gproc_config_shows_each_default_and_where_it_comes_from(tmp_path: Path) -> None:
    path = file_with(tmp_path / "config.toml", "[e]\nlabel = true\n")
    done = gproc(tmp_path, "config")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert f"--label\te\ttrue\t{path} [e]" in lines
    assert "--timeout\te,map,cp,get,upgrade\t-\tdefault" in lines
    assert f"{path}: read" in lines
    rows = json.loads(gproc(tmp_path, "config", "--json").stdout)
    assert {"switch": "label", "modes": ["e"], "value": True, "from": f"{path} [e]"} in rows
    assert {(row["switch"], mode) for row in rows for mode in row["modes"]} == {
        (switch.gnu, mode.letters) for mode in MODES for switch in switches_of(mode)
    }


def test_a_users_file_decides_which_master_is_asked(tmp_path: Path) -> None:
    file_with(tmp_path / "config.toml", "[common]\nsocket = '/no/such/socket'\n")
    done = gproc(tmp_path, "i")
    assert (done.returncode, "/no/such/socket" in done.stderr) == (EXIT_GPROC, True)


def test_a_wrong_file_stops_every_mode_with_one_message(tmp_path: Path) -> None:
    path = file_with(tmp_path / "config.toml", "[e]\nlable = true\n")
    done = gproc(tmp_path, "i")
    assert done.returncode == EXIT_USAGE
    assert done.stderr == f"gproc: {path}: line 2: [e] lable: there is no such switch; did you mean label?\n"
    assert gproc(tmp_path, "help", "e").returncode == 0


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = file_with(tmp_path / "config.toml", "[e]\nlabel = true\n", mode)
    done = gproc(tmp_path, "i")
    assert (done.returncode, f"chmod go-w {path}" in done.stderr) == (EXIT_GPROC, True)


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can make a file of another user")
    path = file_with(tmp_path / "config.toml", "[e]\nlabel = true\n")
    os.chown(path, 1234, 1234)
    done = gproc(tmp_path, "i")
    assert (done.returncode, "belongs to uid 1234" in done.stderr) == (EXIT_GPROC, True)


def test_a_fifo_in_the_place_of_a_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml", 0o600)
    assert "is not a regular file" in gproc(tmp_path, "i").stderr


def test_without_a_file_nothing_that_reads_one_is_imported(tmp_path: Path) -> None:
    program = f"""
import os, sys
from gproc.cli.modes import MODES
from gproc.cli.defaults import defaults_of
assert [defaults_of(mode, [({str(tmp_path / "none")!r}, frozenset())]) for mode in MODES] == [{{}}] * len(MODES)
print(sorted({{"tomllib", "difflib", "gproc.cli.settings"}} & set(sys.modules)))
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


def test_a_wrong_file_does_not_disturb_a_line_that_is_being_typed(tmp_path: Path) -> None:
    file_with(tmp_path / "config.toml", "[e]\nlable = true\n")
    done = gproc(tmp_path, "__complete", "e", "")
    assert (done.returncode, done.stderr) == (0, "")


def test_mode_names_are_sections_too() -> None:
    assert [setting.mode for setting in settings_of("f", "[exec]\nlabel = true\n")] == ["e"]
