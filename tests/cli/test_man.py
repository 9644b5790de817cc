"""The man pages: complete, and without a complaint of the programs that format them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.cli.man import escaped, pages
from gproc.cli.modes import MODES, Mode
from gproc.cli.switches import switches_of

PAGES = dict(pages())


def formatted(text: str) -> str:
    """What groff makes of a page; it must not complain."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-ww", "-man", "-Tutf8", "-P-cbou", "-rLL=200n"], input=text, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_mode_has_a_man_page_with_all_its_switches_as_one_types_them(mode: Mode) -> None:
    page = formatted(PAGES[f"gproc-{mode.letters}.1"])
    words = page.replace(",", " ").split()
    assert [name for switch in switches_of(mode) for name in switch.shown() if name not in words] == []
    assert f"gproc {mode.letters} [switches]" in page


def test_the_first_man_page_names_every_mode_and_its_page() -> None:
    page = formatted(PAGES["gproc.1"])
    assert [mode.letters for mode in MODES if f"gproc-{mode.letters}(1)" not in page] == []


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_no_warning(name: str) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning"], input=PAGES[name], capture_output=True, text=True)
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_no_text_becomes_a_request_of_roff(text: str) -> None:
    assert not escaped(text).startswith((".", "'"))


def test_the_pages_are_written_to_a_directory(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "gproc.cli.man", str(tmp_path / "man1")], check=True)
    assert {path.name: path.read_text() for path in (tmp_path / "man1").iterdir()} == PAGES
