"""The help pages, as a person gets them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.cli.help import wrapped
from gproc.cli.main import main
from gproc.cli.modes import MODES, Mode
from gproc.cli.switches import SWITCHES, switches_of


def gproc(*argv: str, **environ: str) -> str:
    """What `gproc` prints on stdout; it must succeed and be silent on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "gproc", *argv],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environ},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


class Pages:
    """The same pages without a process for each of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *modes: str, width: int) -> str:
        self._monkeypatch.setenv("COLUMNS", str(width))
        status = main(["help", *modes])
        said = self._capsys.readouterr()
        assert (status, said.err) == (0, "")
        return said.out


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Pages:
    return Pages(monkeypatch, capsys)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_page_names_every_switch_of_its_mode_in_every_spelling(mode: Mode, width: int, pages: Pages) -> None:
    page = pages(mode.letters, width=width)
    shown = page.replace(",", " ").split()
    assert [name for switch in switches_of(mode) for name in switch.shown() if name not in shown] == []
    elsewhere = {name for switch in SWITCHES for name in switch.shown()}
    elsewhere -= {name for switch in switches_of(mode) for name in switch.shown()}
    listed = {line.split()[0].rstrip(",") for line in page.splitlines() if line.startswith("  -")}
    assert listed & elsewhere <= {"-h"}  # help, but for `start`, where it is a number
    assert page.startswith("Usage: " + mode.usage().replace("gproc [switches]", "gproc").replace(
        f"gproc {mode.letters}", f"gproc {mode.letters} [switches]"))  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 120])
def test_pages_fit_their_terminal(width: int, pages: Pages) -> None:
    for mode in (None, *MODES):
        page = pages(*([mode.letters] if mode else []), width=width)
        assert max(map(len, page.splitlines())) <= width


def test_a_page_is_the_same_for_a_process_of_its_own(pages: Pages) -> None:
    assert gproc("help", "e", COLUMNS="60") == pages("e", width=60)


def test_the_first_page_names_every_mode() -> None:
    page = gproc("--help", COLUMNS="80")
    terms = {line[2:].partition("  ")[0] for line in page.partition("Modes:")[2].splitlines() if line[:3].strip()}
    assert [mode.letters for mode in MODES if ", ".join(mode.names()) not in terms] == []


def test_every_way_to_ask_for_a_page_gives_the_same_one() -> None:
    pages = [gproc(*ask) for ask in (["help", "e"], ["e", "-h"], ["--help", "exec"], ["exec", "--help"])]
    assert pages == pages[:1] * 4


def test_a_page_is_coloured_only_on_demand_or_on_a_terminal() -> None:
    assert "\x1b[" not in gproc("help", "e", FORCE_COLOR="", NO_COLOR="")
    assert "\x1b[" in gproc("help", "e", FORCE_COLOR="1", NO_COLOR="")
    assert "\x1b[" not in gproc("help", "e", FORCE_COLOR="1", NO_COLOR="1")


def test_a_page_imports_nothing_slow() -> None:
    program = """
import sys
from gproc.cli.main import main
main(["help", "e"])
slow = {"typer", "click", "rich", "inspect", "textwrap", "shutil", "re", "argparse"}
print(sorted((slow & set(sys.modules)) - before))
"""
    before = "import msgspec, sys\nbefore = set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", before + program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@given(st.text(), st.integers(1, 40))
def test_wrapping_keeps_every_word_and_the_width(text: str, width: int) -> None:
    lines = list(wrapped(text, width))
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= width or len(line.split()) == 1 for line in lines)
