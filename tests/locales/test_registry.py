"""Locales are found by name: shipped ones, a file, or a third party's installed package."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gproc.errors import EXIT_USAGE, LocaleError
from gproc.locales import ENTRY_POINTS, SHIPPED, Locale, Options, Role, load

LAB = """
from gproc.locales import NodeAddress, Options, Parent, Placement, Role, host_number

class Lab:
    def place(self, role, hostname, options):
        master = Parent("10.9.0.254", options.cmd_port, is_master=True)
        if role is Role.MASTER:
            return options.override(Placement(address=master.host))
        number = host_number("lab", hostname, prefix="pc", highest=200)
        return options.override(Placement(id=number, address=f"10.9.0.{number}", parent=master))

    def node(self, number):
        return NodeAddress(f"pc{number}", f"10.9.0.{number}")

class Half:
    def place(self, role, hostname, options): ...
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third party's package, as an installer puts it on disk."""
    (tmp_path / "gproc_lab.py").write_text(LAB)
    info = tmp_path / "gproc_lab-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gproc-lab\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        f"[{ENTRY_POINTS}]\n"
        "lab = gproc_lab:Lab\nhalf = gproc_lab:Half\nlost = gproc_lost:Lost\nmisnamed = gproc_lab:Labb\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    importlib.invalidate_caches()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_locale_is_found_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # without an allocation there is no locale slurm
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n1")
    assert isinstance(load(name), Locale)


def test_the_shipped_locales_are_those_of_pyproject() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert pyproject["project"]["entry-points"][ENTRY_POINTS] == SHIPPED


def test_a_third_party_adds_a_locale_by_entry_point(lab: None) -> None:
    placement = load("lab").place(Role.SLAVE, "pc12", Options())
    assert (placement.id, placement.address) == (12, "10.9.0.12")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere", "there is no locale 'nowhere'; known: etchosts, half, kane, kf, lab, local, lost"),
        ("half", "locale 'half': .* does not have the methods place and node"),
        ("lost", "locale 'lost': cannot load gproc_lost:Lost: No module named 'gproc_lost'"),
        ("misnamed", "locale 'misnamed': cannot load gproc_lab:Labb"),
        ("", "there is no locale ''"),
        ("file", r"there is no locale 'file'.*\./cluster\.toml"),
    ],
)
def test_the_error_for_a_locale_that_cannot_be_loaded_has_the_reason(lab: None, name: str, reason: str) -> None:
    with pytest.raises(LocaleError, match=reason):
        load(name)


def test_a_shipped_locale_loads_without_the_slow_imports() -> None:
    code = (
        "import sys; from gproc.locales import load; load('kane'); load('local')\n"
        "print(*sorted({'importlib.metadata', 'tomllib', 'ipaddress', 'pathlib', 'dataclasses',"
        " 'logging', 'socket'} & set(sys.modules)))"
    )
    root = str(Path(__file__).parents[2])
    # -S -E: start-up files of site-packages must not import anything; msgspec's directory is added by hand.
    paths = [root, *(path for path in sys.path if path.endswith("-packages"))]
    run = subprocess.run(
        [sys.executable, "-S", "-E", "-B", "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == []


def test_a_locale_that_does_not_exist_is_a_wrong_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "gproc", "-locale=nosuch", "s"], capture_output=True, check=False)
    assert done.returncode == EXIT_USAGE
