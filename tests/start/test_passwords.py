"""Hosts that take passwords: gproc asks the person at the terminal once for all of them; without a terminal it does
not."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from tests.patience import PATIENCE_S
from tests.start.lab import Lab
from tests.start.test_start import started

RIGHT = "a right one"

SHADOW = """
echo 'root:{hash}:19000:0:99999:7:::' >"$root/etc/shadow"; chmod 600 "$root/etc/shadow"
sed -i -e /PermitRootLogin/d -e /PasswordAuthentication/d -e /UsePAM/d "$root/etc/sshd_config"
echo PermitRootLogin yes >>"$root/etc/sshd_config"
"""
BY_PASSWORD = 'printf "PasswordAuthentication yes\\nUsePAM no\\n" >>"$root/etc/sshd_config"'
BY_PAM = """
printf "PasswordAuthentication no\\nKbdInteractiveAuthentication yes\\nUsePAM yes\\n" >>"$root/etc/sshd_config"
mkdir -p "$root/etc/pam.d"
printf "%s required pam_unix.so\\n" auth account session >"$root/etc/pam.d/sshd"
for d in usr lib lib64; do mkdir -p "$root/$d"; mount --rbind "/$d" "$root/$d"; done
"""


@pytest.fixture(scope="module")
def locked(hosts: Lab) -> Lab:
    """p1 and p2 take passwords, k1 and k2 ask by PAM.  They know no key of ours."""
    made = subprocess.run(["openssl", "passwd", "-6", RIGHT], capture_output=True, text=True)
    if made.returncode != 0 or not os.path.exists("/usr/lib/x86_64-linux-gnu/security/pam_unix.so"):
        pytest.skip("needs openssl and PAM's modules")
    shadow = SHADOW.format(hash=made.stdout.strip())
    for name, more in (("p1", BY_PASSWORD), ("p2", BY_PASSWORD), ("k1", BY_PAM), ("k2", BY_PAM)):
        hosts.add(name, key="other", more=shadow + more)
    return hosts


class Person:
    """Types gproc commands at a terminal."""

    def __init__(self, lab: Lab, *words: str) -> None:
        self.shown = ""
        self.terminal, far = pty.openpty()
        self._process = lab.begin(*words, stdin=far, stderr=far)
        os.close(far)

    def sees(self, pattern: str, times: int = 1) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while len(re.findall(pattern, self.shown)) < times:
            assert time.monotonic() < until_s and self._read(), self.shown

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.terminal)[3] & termios.ECHO)

    def types(self, line: str) -> None:
        os.write(self.terminal, f"{line}\n".encode())

    def signals(self, signum: int) -> None:
        self._process.send_signal(signum)

    def status(self) -> int:
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s and self._read():
            pass
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self.terminal)

    def _read(self) -> bool:
        """Whether there may be more."""
        if not select.select([self.terminal], [], [], 0.5)[0]:
            return self._process.poll() is None
        try:
            self.shown += os.read(self.terminal, 4096).decode()
        except OSError:  # no process has the other end any more
            return False
        return True


@pytest.fixture
def typed(locked: Lab, lab: Lab) -> Iterator[Person]:
    """Has typed gproc start for the hosts p1 and p2."""
    person = Person(locked, "start", "-w", "p[1-2]")
    yield person
    person.close()


def test_a_password_is_asked_once_not_shown_and_used_for_the_other_hosts(typed: Person) -> None:
    typed.sees(r"root@p[12]'s password: ")
    assert not typed.echoes()
    typed.types(RIGHT)
    assert typed.status() == 0, typed.shown
    assert len(re.findall("password: ", typed.shown)) == 1
    assert RIGHT not in typed.shown


def test_after_three_wrong_ones_the_hosts_have_refused(typed: Person, locked: Lab) -> None:
    for number in range(1, 4):
        typed.sees("password: ", number)
        typed.types(f"wrong {number}")
    assert typed.status() == 1
    assert len(re.findall("password: ", typed.shown)) == 3
    assert len(re.findall("Permission denied", typed.shown)) >= 2
    assert "wrong" not in typed.shown
    kept = subprocess.run(["grep", "-rl", "wrong 1", locked.home], capture_output=True, text=True)
    assert kept.stdout == "", "it is on the disk"


def test_a_second_try_can_be_right(typed: Person) -> None:
    typed.sees("password: ")
    typed.types("wrong")
    typed.sees("password: ", 2)
    typed.types(RIGHT)
    assert typed.status() == 0, typed.shown


def test_ctrl_c_instead_of_a_password_ends_it_and_the_terminal_is_as_before(typed: Person) -> None:
    typed.sees("password: ")
    typed.signals(signal.SIGINT)
    assert typed.status() == 130, typed.shown
    assert typed.echoes()


def test_what_pam_asks_is_asked_once_too(locked: Lab, lab: Lab) -> None:
    person = Person(locked, "start", "-w", "k[1-2]")
    try:
        person.sees(r"\(root@k[12]\) Password: ")
        assert not person.echoes()
        person.types(RIGHT)
        assert person.status() == 0, person.shown
        assert len(re.findall("Password: ", person.shown)) == 1
    finally:
        person.close()


def test_without_a_terminal_nobody_is_asked_and_that_is_said(locked: Lab, lab: Lab) -> None:
    found = started(locked, "-w", "p1,k1,h1")
    for host in ("p1", "k1"):
        assert "it takes passwords, but nobody is asked for one here: this is no terminal" in found[host]["reason"]
    assert found["h1"]["state"] == "up"
