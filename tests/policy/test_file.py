"""The policy's file on a machine: names become numbers, changes are seen, and the command says what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gproc.errors import GprocError
from gproc.policy import file as policy_file
from gproc.policy.file import PolicyFile, PolicyPlace, read_policy


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_names_of_this_machine_become_numbers_and_unknown_ones_are_nobody(tmp_path: Path) -> None:
    text = '[[allow]]\nusers = ["root", "no-such-user", 7]\ngroups = ["root", "no-such-group"]\n'
    policy, unknown = read_policy(str(written(tmp_path / "p", text)))
    assert policy.rules[0].people.uids == frozenset({0, 7})
    assert policy.rules[0].people.gids == frozenset({0})
    assert unknown == ["this machine has no user no-such-user", "this machine has no group no-such-group"]


def test_a_file_that_comes_changes_and_goes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "p"
    file = PolicyFile(PolicyPlace(str(path), False))
    assert file.current() is None
    written(path, "[[allow]]\nusers = [1]\n")
    policy = file.current()
    assert policy is not None
    assert file.current() is policy
    written(path, "[[allow]]\nusers = [1]\n[[allow]]\nusers = [2]\n")
    changed = file.current()
    assert changed is not None
    assert len(changed.rules) == 2
    written(path, "allow = 1\n")
    for _ in range(2):
        with pytest.raises(GprocError, match="cannot be used, so no job may run"):
            file.current()
    path.unlink()
    assert file.current() is None


def test_without_a_path_there_is_no_policy() -> None:
    assert PolicyFile(None).current() is None


def test_the_log_says_which_policy_holds_and_once_that_it_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No line said that from then on all users could run everything."""
    caplog.set_level("INFO", "gproc")
    path = written(tmp_path / "p", "[[allow]]\nusers = [1]\n")
    file = PolicyFile(PolicyPlace(str(path), False))
    file.current()
    assert not caplog.records, "a daemon that cannot start says nothing but the reason"
    file.announce()
    path.unlink()
    for _ in range(2):
        assert file.current() is None
    PolicyFile(PolicyPlace(str(path), False)).announce()
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", f"policy {path}: 1 rules"),
        ("WARNING", f"the policy {path} is gone: from now on everybody may run everything"),
        ("INFO", f"no policy: there is no {path}, so everybody may run everything"),
    ]


def nothing_runs(place: PolicyPlace, reason: str) -> None:
    file = PolicyFile(place)
    for _ in range(2):
        with pytest.raises(GprocError, match=f"^the policy cannot be used, so no job may run: cannot read .*{reason}$"):
            file.current()


def test_a_policy_that_somebody_has_named_and_that_is_not_there_lets_nobody_in(tmp_path: Path) -> None:
    """A mistyped name let all users run everything, without a word."""
    path = tmp_path / "p"
    named = PolicyPlace(str(path), True)
    nothing_runs(named, "p, which GPROC_POLICY names: No such file or directory")
    file = PolicyFile(named)
    written(path, "[[allow]]\nusers = [1]\n")
    assert file.current() is not None
    path.unlink()
    with pytest.raises(GprocError, match="so no job may run"):
        file.current()


@pytest.mark.parametrize("named", [False, True])
def test_a_link_that_leads_nowhere_lets_nobody_in(tmp_path: Path, named: bool) -> None:
    """As before the file system with the site's configuration is mounted."""
    (tmp_path / "link").symlink_to("nowhere/policy.toml")
    nothing_runs(PolicyPlace(str(tmp_path / "link"), named), "it is a link, and what it leads to is not there")
    (tmp_path / "etc").symlink_to("nowhere")
    nothing_runs(PolicyPlace(str(tmp_path / "etc/gproc/policy.toml"), named), "is below one, that leads nowhere")
    (tmp_path / "nowhere").mkdir()
    written(tmp_path / "nowhere/policy.toml", "[[allow]]\nusers = [1]\n")
    assert PolicyFile(PolicyPlace(str(tmp_path / "link"), named)).current() is not None


@pytest.mark.parametrize("wrong", ["a file above", "a loop", "a directory"])
def test_what_is_no_file_is_no_absence(tmp_path: Path, wrong: str) -> None:
    written(tmp_path / "file", "")
    (tmp_path / "loop").symlink_to("loop")
    path = {"a file above": "file/p", "a loop": "loop", "a directory": "."}[wrong]
    with pytest.raises(GprocError, match="so no job may run"):
        PolicyFile(PolicyPlace(str(tmp_path / path), False)).current()


def test_a_machine_is_closed_by_a_link_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nologin").symlink_to("its-message-is-away")
    monkeypatch.setattr(policy_file, "NOLOGIN", (str(tmp_path / "nologin"),))
    path = written(tmp_path / "p", "nologin = true\n[[allow]]\nusers = [1]\n")
    policy = PolicyFile(PolicyPlace(str(path), False)).current()
    assert policy is not None and policy.closed == f"this machine has {tmp_path}/nologin"


def test_the_command_agrees_with_the_daemons_about_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    reason = "it is a link, and what it leads to is not there"
    assert check(tmp_path / "link").stderr == f"gproc: cannot read {tmp_path}/link: {reason}\n"
    argv = [sys.executable, "-m", "gproc", "policy", "check"]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, env={**os.environ, "GPROC_POLICY": f"{tmp_path}/typo"}
    )
    assert done.returncode == 2
    assert done.stderr == f"gproc: cannot read {tmp_path}/typo, which GPROC_POLICY names: No such file or directory\n"


def check(path: Path, *switches: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "gproc", "policy", "check", str(path), *switches]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": "/nonexistent"})


def test_the_command_says_what_is_wrong_or_what_a_policy_holds(tmp_path: Path) -> None:
    path = written(tmp_path / "p", 'root = true\n[[allow]]\nusers = ["*"]\n[[allow]]\nusers = ["no-such-user"]\n')
    done = check(path)
    assert done.returncode == 0
    everything = "run, localbin, cp, get on all nodes"
    nobody = "this machine has no user no-such-user: that name is nobody here"
    assert done.stdout.splitlines() == [
        f"{path}: 2 rules, root too", f"1. everybody: {everything}", f"2. no-such-user: {everything}", nobody,
    ]  # fmt: skip
    assert f"reads {path}" in check(path, "-debug=3").stderr
    written(path, '[[operate]]\nusers = ["root", 7]\nmay = ["output"]\n')
    assert check(path).stdout.splitlines()[1] == "of all users' jobs, root, 7 may: see, output"
    written(path, "[[allow]]\nusers = [1]\nnodes = '3-1'\n")
    done = check(path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"gproc: {path}: [[allow]] number 1: ")
    absent = check(tmp_path / "none")
    assert (absent.returncode, absent.stderr) == (2, f"gproc: cannot read {tmp_path}/none: No such file or directory\n")


def test_the_command_shows_the_bounds_of_rules_and_users(tmp_path: Path) -> None:
    allow = '[[allow]]\nusers = [7]\ngroups = ["root"]\nnodes = "1-4/."\nactions = ["run"]\njobs = 2\nmemory_mib = 64\n'
    path = written(tmp_path / "p", f"{allow}[limits]\nuser_store_mib = 4096\nuser_store_files = 200000\n")
    assert check(path).stdout.splitlines()[1:] == [
        "1. 7, group root: run on nodes 1-4/.; at most 2 jobs at once, 64 MiB of a job on a node",
        "limit user_store_mib: 4096",
        "limit user_store_files: 200000",
    ]


def test_everybody_is_a_word_for_users_and_no_group(tmp_path: Path) -> None:
    path = written(tmp_path / "p", '[[allow]]\ngroups = ["*"]\n')
    assert check(path).stdout.splitlines()[-1] == "this machine has no group *: that name is nobody here"
