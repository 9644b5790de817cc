"""What a launcher finds out about its node, and tells."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import gproc

SOURCE = str(Path(gproc.__file__).parents[1])

ASK = """
import msgspec, sys
from gproc.launch.launcher import Launcher
launcher = Launcher.for_this_node(private=sys.argv[1] == "private")
print(msgspec.json.encode(launcher.abilities).decode())
launcher.close()
"""


def ask(*before: str, private: bool = True) -> dict[str, object]:
    words = [*before, sys.executable, "-B", "-c", ASK, "private" if private else "plain"]
    told = subprocess.run(words, env={**os.environ, "PYTHONPATH": SOURCE}, capture_output=True, text=True, check=True)
    _tag, view, overlay, root, reason = json.loads(told.stdout)
    return {"view": view, "overlay": overlay, "root": root, "reason": reason}


def within_own_namespace(sysctl: str) -> list[str]:
    """A command prefix: in a user namespace of its own, where `sysctl` is 0."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare(1)")
    try:
        subprocess.run(["unshare", "-Ur", "true"], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs user namespaces: {error.stderr.decode().strip()}")
    return ["unshare", "-Ur", "sh", "-c", f'echo 0 >/proc/sys/user/{sysctl}; exec "$@"', "sh"]


@pytest.mark.parametrize("sysctl", ["max_pid_namespaces", "max_mnt_namespaces"])
def test_a_node_without_namespaces_is_plain_and_says_why(sysctl: str) -> None:
    told = ask(*within_own_namespace(sysctl))
    assert (told["view"], told["overlay"]) == (False, False)
    assert "No space left" in str(told["reason"])


def test_a_launcher_told_not_to_be_private_is_plain() -> None:
    told = ask(private=False)
    assert told["view"] is False
    assert "-p=false" in str(told["reason"])


def test_root_is_told() -> None:
    assert ask(private=False)["root"] == (os.getuid() == 0)


@pytest.mark.parametrize("private", ["0", "1"])
def test_a_launcher_whose_slave_is_killed_meanwhile_ends_without_a_traceback(private: str) -> None:
    """The slave's log ended with one: chaos, seed 11."""
    ours, theirs = socket.socketpair()
    serve = (
        "import socket, sys; from gproc.launch import serving; "
        "serving.main(socket.socket(fileno=int(sys.argv[1])), private=sys.argv[2] == '1')"
    )
    with theirs:
        ours.close()
        words = [sys.executable, "-B", "-c", serve, str(theirs.fileno()), private]
        env = {**os.environ, "PYTHONPATH": SOURCE}
        told = subprocess.run(words, env=env, pass_fds=[theirs.fileno()], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")
