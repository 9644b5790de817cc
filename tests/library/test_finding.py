"""`gproc.connect()` finds the master that `gproc e` finds, and reads nothing else of the files that set defaults."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gproc
from gproc.cli.defaults import defaults_of
from gproc.cli.modes import MODES
from gproc.cli.program_options import DEFAULT_SOCKET
from gproc.client.finding import default_socket
from gproc.errors import UsageError
from gproc.trust import meeting
from tests.system.cluster import Cluster as Machines

OWN = frozenset({os.geteuid()})
EXEC = next(mode for mode in MODES if mode.letters == "e")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A master at a socket that only the user's file names, and node 1."""
    machines = Machines(tmp_path_factory.mktemp("finding") / "c")
    machines.start_master()
    machines.slave(1)
    (machines.home / "config.toml").write_text(f"[common]\nsocket = '{machines.socket}'\n[e]\nlabel = true\n")
    (machines.home / "config.toml").chmod(0o600)
    yield machines
    machines.stop()


def test_without_a_name_the_library_finds_the_master_that_the_users_file_names(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPROC_HOME", str(machines.home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(machines.place / "cache"))
    with gproc.connect() as cluster:
        assert cluster.run("1", ["echo", "here"]).stdout == {"1": b"here\n"}

    async def work() -> None:
        async with gproc.connect_async() as cluster:
            assert (await cluster.run("1", ["echo", "here"])).stdout == {"1": b"here\n"}

    asyncio.run(work())


def test_a_socket_that_a_program_names_prevails(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPROC_HOME", str(machines.home))
    with pytest.raises(gproc.NoMaster) as raised:
        gproc.connect(str(tmp_path / "none"))
    assert raised.value.path == str(tmp_path / "none")


def test_a_file_that_is_wrong_or_cannot_be_trusted_is_an_error_and_not_another_master(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPROC_HOME", str(tmp_path))
    path = tmp_path / "config.toml"
    path.write_text("[e]\nsocket = [1]\n")
    path.chmod(0o600)
    with pytest.raises(gproc.UsageError, match=rf"{path}: \[e\] socket is not a text"):
        gproc.connect()
    path.write_text("[e")
    with pytest.raises(gproc.UsageError, match="not TOML"):
        gproc.connect()
    path.write_text("[e]\nsocket = '/no/such'\n")
    path.chmod(0o622)
    with pytest.raises(gproc.TrustError, match="can be written by others"):
        gproc.connect()


def test_without_a_file_it_is_the_usual_socket(tmp_path: Path) -> None:
    assert default_socket([(str(tmp_path / "none"), OWN)]) == DEFAULT_SOCKET == meeting.DEFAULT_SOCKET


SECTIONS = st.lists(st.sampled_from(["common", "e", "exec", "i", "cp"]), unique=True, max_size=5)


@given(st.lists(st.lists(st.tuples(SECTIONS, st.sampled_from(["'/a'", "'/b'", "'/c'", "7", "true"]))), max_size=2))
def test_the_command_line_and_the_library_read_the_same_out_of_any_files(
    files: list[list[tuple[list[str], str]]],
) -> None:
    with tempfile.TemporaryDirectory() as place:
        written = []
        for number, parts in enumerate(files):
            names: dict[str, str] = {}
            for sections, value in parts:
                names |= {name: value for name in sections if name not in names}
            path = Path(place, str(number))
            path.write_text("".join(f"[{name}]\nsocket = {value}\n" for name, value in names.items()))
            written.append((str(path), OWN))
        try:
            expected = str(defaults_of(EXEC, written).get("socket", DEFAULT_SOCKET))
        except UsageError:
            # The library does not care for what is wrong in sections of other modes.
            return
        assert default_socket(written) == expected
