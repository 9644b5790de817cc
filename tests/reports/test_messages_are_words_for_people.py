"""No message shows how Python, msgspec or C write an error: each says what was wrong and what to do."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from pathlib import Path

import pytest

from gproc.shown import reason_of, shown, shown_text
from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster

RAW = re.compile(r"\[Errno|Traceback|b'|\bError\b\(|Object (contains|missing)|Expected `|- at `\$|codec can't")


def told(stderr: bytes | str) -> str:
    text = stderr if isinstance(stderr, str) else stderr.decode()
    assert text.startswith("gproc: ")
    assert not RAW.search(text), text
    return text


def test_a_program_that_the_node_does_not_have_is_named_in_words(tree: Cluster) -> None:
    done = tree.exec("-localbin", "1", "/sbin/nosuch")
    assert (done.returncode, told(done.stderr)) == (127, "gproc: 1: /sbin/nosuch: No such file or directory\n")


@pytest.mark.parametrize(
    ("switch", "reason"), [("--mem=1M", "MiB"), ("--mem=1K", "MiB")],
)  # fmt: skip
def test_a_bound_that_no_program_can_keep_is_refused_in_words(tree: Cluster, switch: str, reason: str) -> None:
    done = tree.exec(switch, "1", "/bin/true")
    assert done.returncode == 125
    assert reason in told(done.stderr)


def in_a_removed_directory(tree: Cluster, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "gone").mkdir(exist_ok=True)
    command = subprocess.list2cmdline([*gproc_as(None), *words])
    line = f"cd {tmp_path}/gone && rmdir ../gone && exec {command}"
    env = {**tree.env, "GPROC_HOME": "relative"} if "cert" in words else tree.env
    return subprocess.run(["/bin/sh", "-c", line], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("words", ["e 1 true", "e 1 ./true", "cp some 1:/tmp/x", "bundle date", "cert kn1"])
def test_from_a_working_directory_that_was_removed_the_message_says_so(
    tree: Cluster, tmp_path: Path, words: str
) -> None:
    mode, *rest = words.split()
    socket = [f"--socket={tree.socket}"] if mode in ("e", "cp") else []
    done = in_a_removed_directory(tree, tmp_path, mode, *socket, *rest)
    assert done.returncode == 125
    assert "the working directory is gone (No such file or directory): change to one that exists" in told(done.stderr)


def test_a_command_that_needs_no_working_directory_works_without_one(tree: Cluster, place: Path) -> None:
    (place / "file").write_text("content")
    socket = f"--socket={tree.socket}"
    for words in (("cp", str(place / "file"), f"1:{place}/copy"), ("i",), ("get", f"1:{place}/file", str(place / "h"))):
        done = in_a_removed_directory(tree, place, words[0], socket, *words[1:])
        assert (done.returncode, done.stderr) == (0, ""), words
    assert (place / "copy").read_text() == "content"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('master = "a"\nfoo = 1\nnodes = ["b"]', "there is no key foo; the keys are master, nodes, rack, addresses"),
        ('master = "a"\nnods = ["b"]', "there is no key nods; did you mean nodes?"),
        ('nodes = ["b"]', "the key master is missing"),
        ('master = 1\nnodes = ["b"]', "master: a text is wanted, and this is a whole number"),
        ('master = ""\nnodes = ["b"]', "master: a text of at least one character is wanted"),
        ('master = "a"\nnodes = "b"', "nodes: a list is wanted, and this is a text"),
        ('master = "a"\n[[rack]]\nhead = "b"\nnodse = []', "rack[0]: there is no key nodse; did you mean nodes?"),
        ('master = "a"\npattern = "n{}"\nlast = 0\nfan_out = 2', "last: at least 1 is wanted"),
        ('master = "a"\npattern = "n{}"\nlast = 99999999999\nfan_out = 2', "last: at most 9999999999 is wanted"),
        ("nodes = [", "this is not TOML: "),
        (b"\xff", "this is not TOML: it is not UTF-8"),
    ],
)
def test_a_locale_file_is_corrected_in_words(text: str | bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    home = tmp_path / "home"
    env = {**os.environ, "GPROC_HOME": str(home)}
    done = subprocess.run([*gproc_as(None), "m", f"-locale={path}"], env=env, capture_output=True, text=True)
    assert done.returncode == 125
    assert told(done.stderr).startswith(f"gproc: locale file {path}: {said}")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", b"/a\xff\n"), r"/a\xff\n: No such file"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), "/a: Permission denied"),
        (OSError(errno.EINVAL, "a program needs more"), "a program needs more"),
        (OSError("no number"), "no number"),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_of_the_system_is_its_file_and_its_reason(error: BaseException, words: str) -> None:
    assert reason_of(error) == words


@pytest.mark.parametrize("name", [b"/a\xff\xfe", b"\x80\n", "/ä\u202e".encode()])
def test_bytes_that_are_no_text_are_shown_alike_as_a_path_and_as_a_word(name: bytes) -> None:
    """The master's log had half of a Python surrogate: \\udcff."""
    assert shown_text(os.fsdecode(name)) == shown(name)
