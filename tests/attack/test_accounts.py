"""PAM decides about accounts, on the master and on each node, in its own words; a slow module delays no other user."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gproc.policy import account
from gproc.policy.account import LIBRARY
from gproc.policy.asking import AccountDesk
from gproc.policy.rules import PolicyRefused
from tests.attack.test_policy import set_policy
from tests.loop import run
from tests.patience import PATIENCE_S
from tests.system.cluster import NOBODY, Cluster, await_ends

USER: dict[str, Any] = {"uid": NOBODY}
ECHO = ("-localbin", "1", "/bin/echo", "well")

LISTED = "pam_listfile.so item=user sense=allow file={place}/fine onerr=fail"
PASSES_ROOT = f"account [success=done default=ignore] {LISTED}\n"

SLEEP = f"/bin/sleep 1000.{os.getpid()}"

Stack = Callable[[str], str]


@pytest.fixture(autouse=True)
def with_pam(root_only: None) -> None:
    if not os.path.isdir("/etc/pam.d") or not any(map(os.path.exists, _modules("pam_listfile.so"))):
        pytest.skip(f"needs {LIBRARY} with its modules, and /etc/pam.d")


def _modules(name: str) -> list[str]:
    folders = (f"/lib/{os.uname().machine}-linux-gnu", "/usr/lib64", "/lib")
    return [f"{folder}/security/{name}" for folder in folders]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Makes a service of PAM.  Returns the policy that asks it."""
    service = Path(f"/etc/pam.d/gproc-test-{os.getpid()}")

    def make(lines: str) -> str:
        (tmp_path / "fine").write_text("root\n")
        service.write_text(lines.format(place=tmp_path))
        return f"root = true\npam = '{service.name}'\naudit = '{tmp_path}/audit'\n[[allow]]\nusers = ['*']\n"

    yield make
    service.unlink(missing_ok=True)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "c")
    yield cluster
    cluster.stop()


def start(cluster: Cluster, policy: str, *, on: str) -> None:
    """Start a cluster whose master or node obeys the policy."""
    path = str(set_policy(cluster.place.parent / "policy.toml", policy))
    for daemon in ("master", "node"):
        if daemon == on:
            cluster.env["GPROC_POLICY"] = path
        cluster.start_master() if daemon == "master" else cluster.slave(1)
        cluster.env.pop("GPROC_POLICY", None)


@pytest.mark.parametrize("on", ["master", "node"])
def test_who_is_refused_by_pam_runs_nothing_and_is_told_pams_words(
    cluster: Cluster, tmp_path: Path, stack: Stack, on: str
) -> None:
    (tmp_path / "words").write_text("closed until\x1b[2J Monday\n")
    lines = PASSES_ROOT + "account optional pam_echo.so file={place}/words\naccount required pam_deny.so\n"
    start(cluster, stack(lines), on=on)
    done = cluster.exec(*ECHO, **USER)
    assert (done.returncode, done.stdout) == (125, b"")
    assert f"does not let uid {NOBODY} in: closed until\\x1b[2J Monday; " in done.stderr.decode()
    assert cluster.exec(*ECHO).stdout == b"well\n"
    cluster.stop()
    records = [json.loads(line) for line in (tmp_path / "audit").read_bytes().splitlines()]
    of_user = [(each["daemon"], each["act"]) for each in records if each["uid"] == NOBODY]
    assert of_user == [("slave" if on == "node" else "master", "refuse")]


def test_a_machine_that_is_closed_refuses_by_pam_nologin(cluster: Cluster, tmp_path: Path, stack: Stack) -> None:
    closed = tmp_path / "nologin"
    start(cluster, stack("account required pam_nologin.so successok file={place}/nologin\n"), on="master")
    assert cluster.exec(*ECHO, **USER).stdout == b"well\n"
    closed.write_text("down for repairs\n")
    while (done := cluster.exec(*ECHO, **USER)).returncode == 0:
        pass  # an answer is remembered for 2 s
    assert "down for repairs" in done.stderr.decode()
    assert cluster.exec(*ECHO).stdout == b"well\n"
    closed.unlink()
    assert cluster.exec(*ECHO, **USER).stdout == b"well\n"


@pytest.mark.parametrize("on", ["master", "node"])
def test_a_module_that_waits_for_ever_holds_up_only_the_user_it_is_asked_about(
    cluster: Cluster, stack: Stack, on: str
) -> None:
    lines = PASSES_ROOT + f"account required pam_exec.so quiet {SLEEP}\n"
    start(cluster, stack(lines), on=on)
    waits = cluster.begin("e", *ECHO, **USER)
    for _ in range(3):
        assert cluster.exec(*ECHO).stdout == b"well\n"
    until_s = time.monotonic() + PATIENCE_S
    while not sleepers() and waits.poll() is None:
        assert time.monotonic() < until_s
    assert waits.poll() is None
    waits.kill()
    waits.communicate()
    cluster.stop()
    await_ends([int(path.parent.name) for path in sleepers()], PATIENCE_S)


def test_pam_that_does_not_answer_is_a_refusal_and_leaves_no_process(stack: Stack) -> None:
    policy = stack(f"account required pam_exec.so quiet {SLEEP}\n")
    service = policy.split("'")[1]

    async def asked() -> None:
        desk = AccountDesk(answer_s=1.0)
        both = await asyncio.gather(*(desk.check(service, 0) for _ in range(2)), return_exceptions=True)
        assert {str(each) for each in both} == {
            f"PAM ({service}) does not let uid 0 in: it does not answer within 1 s"
        }

    run(asked())
    assert sleepers() == []


def test_a_uid_without_a_name_is_refused() -> None:
    async def asked() -> None:
        await AccountDesk().check("sshd", 2**32 - 2)

    with pytest.raises(PolicyRefused, match="this machine has no user with uid 4294967294"):
        run(asked())


def sleepers() -> list[Path]:
    words = "".join(f"{word}\0" for word in SLEEP.split()).encode()
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if _read(path) == words]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


EXPIRED = """
mount --make-rprivate /
sed 's/^nobody:.*/nobody:*:19000:0:99999:7::19001:/' /etc/shadow >"$1/shadow"
chmod "$2" "$1/shadow"
mount --bind "$1/shadow" /etc/shadow
exec setpriv --bounding-set "$3" --inh-caps -all --no-new-privs "$4" -I -S "$5" "$6" 65534 10
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv, of util-linux")
@pytest.mark.parametrize(
    ("mode", "capabilities", "said"),
    [
        ("0600", "-all", "expired"),
        ("0000", "-all,+dac_read_search", "expired"),
        ("0000", "-all", "/etc/shadow cannot be read"),
    ],
)
def test_an_expired_account_is_refused_by_a_daemon_without_capabilities_too(
    tmp_path: Path, stack: Stack, mode: str, capabilities: str, said: str
) -> None:
    """pam_unix takes an account for good if it cannot read /etc/shadow, which has mode 0000 on some distributions."""
    service = tomllib.loads(stack("account required pam_unix.so\n"))["pam"]
    words = [str(tmp_path), mode, capabilities, sys.executable, account.__file__, service]
    done = subprocess.run(["unshare", "--mount", "sh", "-c", EXPIRED, "sh", *words], capture_output=True, text=True)
    if "unshare" in done.stderr:
        pytest.skip(f"needs namespaces: {done.stderr.strip()}")
    assert (done.returncode, said in done.stdout) == (account.REFUSED, True), (done.stdout, done.stderr)
