"""In a locale that is not UTF-8, a script with a word of another alphabet could not be run: a traceback of Python.

`gproc ps -a` ended likewise if anybody's command had such a word, and the master was told other words than were typed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gproc import interpreter
from tests.system.cluster import Cluster

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""As Python takes every locale of an encoding that it does not know, and as it took C before version 3.7."""


@pytest.fixture(scope="module", params=["ascii", "latin-1"])
def locale(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables for which Python's encoding of file names is not UTF-8."""
    if request.param == "ascii":
        return ASCII
    if shutil.which("localedef") is None:
        pytest.skip("needs localedef(1)")
    places = tmp_path_factory.mktemp("locales")
    made = subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", places / "en_US.ISO-8859-1"])
    if made.returncode != 0:
        pytest.skip("this machine has no sources of locales")
    return {"LOCPATH": str(places), "LC_ALL": "en_US.ISO-8859-1"}


def test_a_script_with_words_of_another_alphabet_runs(tree: Cluster, locale: dict[str, str]) -> None:
    (tree.work / "né").write_text("data\n")
    script = tree.write_program("script", '# 日本\ncat né; echo "é日本"')
    done = tree.exec("1", script, env=locale)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, "data\né日本\n", b"")


def test_words_arrive_byte_for_byte_and_the_environment_is_the_callers(tree: Cluster, locale: dict[str, str]) -> None:
    done = tree.exec("1", "sh", "-c", 'printf %s "$0"; env', b"\xe9\xff".decode("utf-8", "surrogateescape"), env=locale)
    assert done.stdout.startswith(b"\xe9\xff")
    assert b"LC_ALL=" + locale["LC_ALL"].encode() in done.stdout
    assert b"utf8" not in done.stdout.lower().replace(b"pythonutf8=0", b"")


def test_jobs_of_others_can_be_listed(tree: Cluster, locale: dict[str, str]) -> None:
    assert tree.exec("1", "echo", "日本").returncode == 0
    assert tree.exec("1", "echo", "é", env=locale).returncode == 0
    table = tree.command("ps", "-a", env=locale)
    assert (table.returncode, table.stderr) == (0, b"")
    assert "日本" in table.stdout.decode()
    jobs = json.loads(tree.command("ps", "-a", "--json").stdout)
    assert jobs[-1]["command"] == ["echo", "é"]


def test_a_name_is_copied_and_named_as_it_was_typed(tree: Cluster, locale: dict[str, str], place: Path) -> None:
    (place / "né").write_text("x")
    done = tree.command("cp", f"{place}/né", f"{place}/日本", f"1:{place}/copy", env=locale)
    assert (done.returncode, done.stderr.decode()) == (1, f"gproc: {place}/日本: No such file or directory\n")
    assert (place / "copy").read_text() == "x"


def test_the_library_packs_such_a_script_too(tree: Cluster, locale: dict[str, str]) -> None:
    (tree.work / "né").write_text("data\n")
    script = tree.write_program("script", "# 日本\ncat né")
    code = f"import gproc; print(gproc.connect({str(tree.socket)!r}).run('1', [{script!r}]).stdout)"
    env = {**tree.env, **locale}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tree.work, capture_output=True, check=True)
    assert done.stdout == b"{'1': b'data\\n'}\n"


def test_a_program_is_not_started_again_for_ever(locale: dict[str, str]) -> None:
    """Also if this Python has options of its own."""
    words = [*interpreter.command(), "-X", "utf8=0", "-E", "-m", "gproc", "--version"]
    env = {**{name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}, **locale}
    done = subprocess.run(words, env=env, capture_output=True, timeout=60, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (0, b"")
