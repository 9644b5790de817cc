"""A wrong command line is one clear message."""

from __future__ import annotations

import pytest

from tests.attack.target import Target


def test_a_socket_path_that_is_too_long_is_reported(target: Target) -> None:
    path = "/tmp/" + "x" * 120
    for mode, words in (
        ("e", ("1", "/bin/true")),
        ("i", ()),
        ("m", ("-cmdport=0", f"--store={target.cluster.place}/x")),
    ):
        done = target.cluster.command(mode, f"--socket={path}", *words)
        assert done.returncode == 125
        assert b"too long for the kernel" in done.stderr or b"more than the 107" in done.stderr
        assert done.stderr.splitlines()[-1].startswith(b"gproc: the socket's path ")


@pytest.mark.parametrize("mode", [("e", "1", "/bin/true"), ("i",)])
def test_a_missing_master_is_reported(target: Target, mode: tuple[str, ...]) -> None:
    done = target.cluster.command(*mode[:1], "--socket=/tmp/no-such-master", *mode[1:])
    assert (done.returncode, done.stdout) == (125, b"")
    assert done.stderr == b"gproc: no master is listening at /tmp/no-such-master: start one with 'gproc m'\n"


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (("e", "1-", "/bin/true"), 2, "node specification: "),
        (("e", "-f", "/no/such/file", "1", "/bin/true"), 125, "/no/such/file"),
        (("s", "-locale=nowhere"), 2, "nowhere"),
        (("s", "-locale=kane"), 125, "kane"),
        (("m", "-binRoot=relative"), 2, "relative"),
        (("e", "1"), 2, ""),
    ],
)
def test_a_wrong_command_line_is_one_clear_message(
    target: Target, words: tuple[str, ...], status: int, reason: str
) -> None:
    mode, *rest = words
    cluster = target.cluster
    if mode == "s":
        slave = cluster.launch_slave(*rest)
        told, text = slave.wait(), slave.log
        cluster.forget(slave)
    else:
        done = cluster.command(mode, *rest)
        told, text = done.returncode, done.stderr.decode()
    assert told == status, text
    assert text.startswith("gproc: ")
    assert reason in text
