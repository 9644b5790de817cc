"""A script without `#!`, or with nothing behind it, gave 126; execvp(3) and every shell run it with /bin/sh."""

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
        b"#!\necho $0 $1\n",
        b"#! \t\necho $0 $1\n",
    ],
    ids=["plain", "blank lines", "comment", "no newline", "UTF-8", "nothing behind it", "blanks behind it"],
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"#!/no/such/interpreter\n", b"/no/such/interpreter: the interpreter of "),
        (b"#!/bin/sh\r\necho never\r\n", b": its lines end as on Windows"),
        (b"#!/" + 300 * b"x" + b"\n", b": its #! line is longer than the 256 bytes that the kernel reads"),
        (b"\x7fELF", b": an ELF file of a class or byte order that does not exist"),
    ],
    ids=["no interpreter", "CR LF", "long line", "broken ELF"],
)
def test_what_is_there_and_cannot_be_executed_has_the_status_that_says_so(
    tree: Cluster, text: bytes, reason: bytes
) -> None:
    done = tree.exec("1", write(tree, "broken", text))
    assert (done.returncode, done.stdout) == (126, b"")
    assert reason in done.stderr
    assert b"\r" not in done.stderr


def test_a_script_from_windows_that_env_starts_is_told_so_too(tree: Cluster) -> None:
    done = tree.exec("1", write(tree, "windows", b"#!/usr/bin/env sh\r\necho never\r\n"))
    assert done.returncode == 127
    assert b": its lines end as on Windows" in done.stderr
    assert b"\r" not in done.stderr


def test_a_program_whose_links_do_not_end_has_that_status_too(tree: Cluster) -> None:
    (tree.work / "loop").symlink_to("loop")
    sent = tree.exec("1", "./loop")
    own = tree.exec("--local-bin", "1", str(tree.work / "loop"), cwd="/")
    assert (sent.returncode, own.returncode) == (126, 126), (sent.stderr, own.stderr)


def test_what_no_shell_would_run_is_refused_with_the_reason(tree: Cluster) -> None:
    done = tree.exec("1", write(tree, "data", b"\x00\x01\x02 no text\n" * 9))
    assert done.returncode == 126
    assert b"./data" in done.stderr or b"/data" in done.stderr
    done = tree.exec("1", write(tree, "closed", b"echo never\n", 0o644))
    assert done.returncode == 126
