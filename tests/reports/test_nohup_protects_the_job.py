"""`nohup gproc e . prog &`, and then the login ended: gproc passed the SIGHUP on that it was told to ignore."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster

BODY = "echo ready; read line; echo $line"


def begun(tree: Cluster, verb: str, *words: str, ignored: str) -> subprocess.Popen[bytes]:
    """A command for which a shell ignores these signals."""
    shell = ("/bin/sh", "-c", f'trap "" {ignored}; exec "$@"', "sh")
    return tree.begin(verb, *words, stdin=subprocess.PIPE, before=shell)


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_that_was_ignored_at_the_start_does_not_reach_the_job(tree: Cluster, signum: signal.Signals) -> None:
    process = begun(tree, "e", "1", "/bin/sh", "-c", BODY, ignored=signum.name.removeprefix("SIG"))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signum)
    stdout, stderr = process.communicate(b"whole\n")
    assert (process.returncode, stdout, stderr) == (0, b"whole\n", b"")


def test_the_tasks_of_a_list_are_protected_too(tree: Cluster) -> None:
    process = begun(tree, "map", "-u", "1", "/bin/sh", "-c", "echo $0", ignored="HUP")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"a\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"a\n"
    process.send_signal(signal.SIGHUP)
    stdout, stderr = process.communicate(b"b\n")
    assert (process.returncode, stdout, stderr) == (0, b"b\n", b"")


def test_a_command_in_the_background_of_a_script_hears_sigint_all_the_same(tree: Cluster) -> None:
    process = begun(tree, "e", "1", "/bin/sh", "-c", BODY, ignored="INT QUIT")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130  # before its standard input ends, which would end the job in order
    process.communicate()


def test_nohup_itself(tree: Cluster) -> None:
    """Its standard input would be no terminal's here, so nohup leaves it alone."""
    nohup = ("nohup",)
    process = tree.begin("e", "1", "/bin/sh", "-c", BODY, stdin=subprocess.PIPE, before=nohup)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(b"whole\n")[0] == b"whole\n"
    assert process.returncode == 0
