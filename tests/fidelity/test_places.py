"""Where a program and its files are on a node, beside what the node has there itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def project(site: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory of the caller's, whose path the node has too: it is the same machine."""
    made = Path(site.cluster.place / f"project{os.urandom(4).hex()}")
    made.mkdir()
    made.chmod(0o777)
    (made / "data").write_text("data\n")
    return made


def test_a_word_that_names_a_file_brings_it_along(site: Any, project: Path) -> None:
    (project / "other").write_text("other\n")
    done = site.run("1", "sh", "-c", "cat data; ls", cwd=project)
    assert done.stdout == b"data\ndata\n", done.stderr


def test_without_words_nothing_but_the_program_goes_along(site: Any, project: Path) -> None:
    done = site.run("--no-words", "1", "cat", "data", cwd=project)
    assert (done.returncode, done.stdout) == (1, b"")
    assert site.run("1", "cat", "data", cwd=project).stdout == b"data\n"


def test_the_working_directory_is_private_and_at_its_own_path(site: Any, project: Path) -> None:
    done = site.run("1", "sh", "-c", 'pwd; echo "$PWD"; echo x > left; ls', cwd=project, env={"PWD": str(project)})
    lines = done.stdout.decode().splitlines()
    if not site.plain:
        assert lines == [str(project), str(project), "left"]
    assert lines[0] == lines[1]
    assert not (project / "left").exists()


def test_a_directory_of_the_node_is_written_for_real(site: Any, project: Path) -> None:
    script = 'pwd; echo "$PWD"; cat data; echo x > left'
    done = site.run("--cwd", str(project), "1", "sh", "-c", script, env={"PWD": "/"})
    assert done.stdout.decode().splitlines() == [str(project), str(project), "data"], done.stderr
    assert (project / "left").read_text() == "x\n"


def test_a_file_of_f_is_at_its_own_path_and_below_the_root(site: Any, project: Path) -> None:
    if site.plain:
        pytest.skip("a plain node has it below the root")
    path = project / "data"
    done = site.run("-f", str(path), "1", "sh", "-c", f"cat {path} $GPROC_ROOT{path}", cwd="/")
    assert done.stdout == b"data\ndata\n", done.stderr


def test_a_script_without_a_first_line_is_run_by_a_shell(site: Any, project: Path) -> None:
    script = project / "script"
    script.write_text('echo "$0 $1"\n')
    script.chmod(0o755)
    done = site.run("1", "./script", "word", cwd=project)
    wanted = f"{site.root}/" if site.plain else "./script word"
    assert done.stdout.decode().startswith(wanted), done.stderr


def test_a_program_that_another_runs_goes_along(site: Any, project: Path) -> None:
    script = project / "prog"
    script.write_text("#!/bin/sh\necho $A\n")
    script.chmod(0o755)
    assert site.run("1", "env", "A=5", "timeout", "9", "./prog", cwd=project).stdout == b"5\n"
    assert site.run("1", "sh", "-c", "./prog", cwd=project, env={"A": "6"}).stdout == b"6\n"
