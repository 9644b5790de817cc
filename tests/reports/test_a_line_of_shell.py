"""A user of pdsh or clush types a line of shell; gproc says what to do, or does it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproc.errors import EXIT_NOT_FOUND
from tests.system.cluster import Cluster
from tests.system.flat import flat_tree


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with flat_tree(tmp_path_factory.mktemp("one"), 1) as cluster:
        yield cluster


@pytest.mark.parametrize("how", [["--shell"], ["--shell", "-localbin"]], ids=" ".join)
def test_with_shell_the_line_runs_on_the_node(one: Cluster, how: list[str]) -> None:
    done = one.exec(*how, ".", "echo a; echo $GPROC_NODE | tr 1 b; exit 3")
    assert (done.returncode, done.stdout) == (3, b"a\nb\n")


def test_with_shell_several_words_are_one_line_as_with_ssh(one: Cluster) -> None:
    assert one.exec("--shell", ".", "echo", "a;", "echo", "b").stdout == b"a\nb\n"


LINES = ["echo a; echo b", "ls | wc", "echo $HOME", "echo a", "cd", "export", "if", "A=1", ":", "module"]


@pytest.mark.parametrize("line", LINES)
def test_without_shell_the_message_names_it(line: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "gproc", "e", ".", line], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == EXIT_NOT_FOUND
    assert done.stderr.endswith("; if it is a line for a shell, add --shell\n")


@pytest.mark.parametrize("mode", ["e", "map"])
def test_the_same_of_nodes_own_programs(one: Cluster, mode: str) -> None:
    words = [".", "export", "A=1"] if mode == "e" else [".", "export", ":::", "A=1"]
    done = one.command(mode, "-localbin", *words)
    assert done.returncode == EXIT_NOT_FOUND
    assert "gproc: if it is a line for a shell, add --shell" in done.stderr.decode().splitlines()


def test_a_plain_name_that_is_not_found_is_no_line_of_shell(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "gproc", "e", ".", "nosuch"], capture_output=True, text=True)
    assert (done.returncode, "--shell" in done.stderr) == (EXIT_NOT_FOUND, False)
