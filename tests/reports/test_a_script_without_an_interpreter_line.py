"""A script without `#!` gave 126; execvp(3) and every shell run it with /bin/sh."""

from __future__ import annotations

import os

import pytest

from tests.system.cluster import Cluster


def write(tree: Cluster, name: str, text: bytes, mode: int = 0o755) -> str:
    path = tree.work / name
    path.write_bytes(text)
    path.chmod(mode)
    return f"./{name}"


@pytest.mark.parametrize(
    "text",
    [
        b"echo $0 $1\n",
        b"\n\necho $0 $1\n",
        b"# a comment\necho $0 $1\n",
        b": # $0\necho $0 $1",
        b"# caf\xc3\xa9\necho $0 $1\n",
    ],
    ids=["plain", "blank lines", "comment", "no newline", "UTF-8"],
)
def test_it_is_run_by_a_shell_with_its_name_and_its_words(tree: Cluster, text: bytes) -> None:
    script = write(tree, "script", text)
    done = tree.exec("1", script, "word")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.split()[1] == b"word"
    assert os.path.basename(done.stdout.split()[0]) == b"script"


def test_its_status_and_its_input_are_its_own(tree: Cluster) -> None:
    script = write(tree, "reads", b"read line\necho got $line\nexit 7\n")
    done = tree.exec("1", script, input=b"this\n")
    assert (done.returncode, done.stdout) == (7, b"got this\n")


def test_an_empty_one_does_nothing_and_succeeds(tree: Cluster) -> None:
    assert tree.exec("1", write(tree, "empty", b"")).returncode == 0


def test_a_program_that_a_script_starts_may_lack_the_line_too(tree: Cluster) -> None:
    inner = write(tree, "inner", b"echo inner\n")
    outer = write(tree, "outer", b"#!/bin/sh\n./inner\n")
    done = tree.exec("-f", inner, "1", outer)
    assert (done.returncode, done.stdout) == (0, b"inner\n"), done.stderr


def test_what_no_shell_would_run_is_refused_with_the_reason(tree: Cluster) -> None:
    done = tree.exec("1", write(tree, "data", b"\x00\x01\x02 no text\n" * 9))
    assert done.returncode == 126
    assert b"./data" in done.stderr or b"/data" in done.stderr
    done = tree.exec("1", write(tree, "closed", b"echo never\n", 0o644))
    assert done.returncode == 126
