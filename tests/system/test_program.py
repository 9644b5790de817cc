"""A program's surroundings on a node, and what it leaves there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.system.cluster import NOBODY, Cluster


def test_a_program_is_found_as_a_shell_finds_it(flat: Cluster) -> None:
    path = Path(flat.write_program("mine", "echo mine"))
    assert flat.exec("1", "mine", env={"PATH": f"{path.parent}:/usr/bin:/bin"}).stdout == b"mine\n"
    assert flat.exec("1", "./mine").stdout == b"mine\n"
    assert flat.exec("1", str(path)).stdout == b"mine\n"


def test_extra_files_and_trees_are_on_the_node(flat: Cluster) -> None:
    (flat.work / "data").mkdir(exist_ok=True)
    (flat.work / "data" / "one").write_text("1\n")
    (flat.work / "data" / "two").write_text("2\n")
    (flat.work / "single").write_bytes(b"single\n")
    command = 'cat "$GPROC_ROOT$PWD/single" "$GPROC_ROOT$PWD/data/one" "$GPROC_ROOT$PWD/data/two"'
    done = flat.exec("-f", "single,data", "./.", "/bin/sh", "-c", f"cd / && PWD={flat.work} && {command}")
    # Lines of different nodes may come in between each other.
    assert (done.returncode, sorted(done.stdout.split())) == (0, sorted([b"single", b"1", b"2"] * 3)), done.stderr


def test_a_directory_with_a_dot_is_sent_without_its_contents(flat: Cluster) -> None:
    (flat.work / "full").mkdir(exist_ok=True)
    (flat.work / "full" / "content").write_text("x")
    done = flat.exec("-f", "full/.", "1", "/bin/ls", f"{flat.place}/s1/root{flat.work}/full")
    assert (done.returncode, done.stdout) == (0, b""), done.stderr


def test_the_working_directory_is_the_callers_and_the_one_under_the_root(flat: Cluster) -> None:
    done = flat.exec("1", "/bin/sh", "-c", 'pwd -P; echo x > x; ls "$GPROC_ROOT$PWD"')
    assert done.stdout.decode() == f"{flat.work}\nx\n", done.stderr


def test_a_relative_extra_file_is_found_in_the_working_directory(flat: Cluster) -> None:
    (flat.work / "beside").write_text("beside\n")
    done = flat.exec("-f", "beside", ".", "/bin/cat", "beside")
    assert (done.returncode, done.stdout) == (0, b"beside\n" * 3), done.stderr


def test_the_environment_is_the_callers_with_gprocs_own(flat: Cluster) -> None:
    done = flat.exec("2", "/usr/bin/env", env={"COLOUR": "blue", "GPROC_RANK": "forged", "EMPTY": ""})
    found = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    assert found["COLOUR"] == "blue"
    assert found["EMPTY"] == ""
    assert found["PATH"] == flat.env["PATH"]
    assert found["GPROC_NODE"] == "2"
    assert found["GPROC_RANK"] == "0"
    assert found["GPROC_SIZE"] == "1"
    assert found["GPROC_ROOT"] == f"{flat.place}/s2/root"
    assert int(found["GPROC_JOB"]) > 0
    assert "LD_LIBRARY_PATH" not in found


def test_a_clean_environment_has_only_what_was_named(flat: Cluster) -> None:
    done = flat.exec("--clean-env", "--env", "A=1", "--env", "LANG", "2", "/usr/bin/env")
    names = {line.split(b"=")[0] for line in done.stdout.splitlines()}
    assert {name for name in names if not name.startswith(b"GPROC_")} == {b"A", b"LANG"}


def test_the_umask_is_the_callers(flat: Cluster) -> None:
    done = flat.exec("1", "/bin/sh", "-c", "umask", umask=0o027)
    assert done.stdout == b"0027\n"


def test_the_program_runs_as_the_caller_if_slave_and_master_are_root(flat: Cluster, root_only: None) -> None:
    home = flat.place / "nobody"
    home.mkdir(exist_ok=True)
    os.chown(home, NOBODY, NOBODY)
    env = {"HOME": str(home), "XDG_CACHE_HOME": str(home)}
    done = flat.exec(".", "/bin/sh", "-c", "id -u; id -g; id -G", env=env, uid=NOBODY, groups=(NOBODY, 12345))
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(done.stdout.decode().splitlines()) == sorted(["65534", "65534", "65534 12345"] * 3)


def test_a_file_that_the_caller_may_not_read_is_not_read_for_the_caller(flat: Cluster, root_only: None) -> None:
    secret = flat.work / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    done = flat.exec(
        "-f", str(secret), "1", "/bin/cat", str(secret), env={"XDG_CACHE_HOME": "/nonexistent"}, uid=NOBODY
    )
    assert done.returncode == 125
    assert done.stdout == b""
    assert b"secret" in done.stderr
    assert b"Permission denied" in done.stderr


def test_the_socket_of_a_root_master_is_open_to_every_user(flat: Cluster, root_only: None) -> None:
    assert stat.S_IMODE(flat.socket.stat().st_mode) == 0o666


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), ("-localbin", "-l")),
        (("-localbin=true", "-l=true"), ()),
        (("--local-bin",), ("--label",)),
        (("--label",), ("--local-bin", "-n=false", "--exclude=2-3")),
    ],
)
def test_switches_work_in_both_spellings_and_on_both_sides_of_the_mode(
    flat: Cluster, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    done = flat.command(*before, "e", *after, "1", "/bin/echo", "-l", "x")
    assert (done.returncode, done.stdout) == (0, b"1: -l x\n"), done.stderr


def test_with_localbin_the_nodes_own_program_runs(flat: Cluster) -> None:
    done = flat.exec("-localbin", ".", "echo", "own")
    assert (done.returncode, done.stdout) == (0, b"own\n" * 3), done.stderr


def test_a_grandchild_in_its_own_session_does_not_outlive_the_job(flat: Cluster) -> None:
    script = "setsid sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 </dev/null & echo started"
    done = flat.exec("./.", "/bin/sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, b"started\n" * 3)
    flat.nothing_runs()


def test_files_that_a_job_writes_below_its_root_are_removed_at_its_end(flat: Cluster) -> None:
    assert flat.exec(".", "/bin/sh", "-c", "echo x > file; mkdir d; echo y > d/z; cat file").stdout == b"x\n" * 3
    for slave in flat.slaves:
        assert not list(slave.bin_root.iterdir())
    assert flat.exec("1", "/bin/ls").stdout == b""


def test_two_jobs_have_separate_private_roots(flat: Cluster) -> None:
    first = flat.begin("e", "1", "/bin/sh", "-c", "echo x > mine; echo here; read line; ls", stdin=-1)
    assert first.stdout is not None
    assert first.stdout.readline() == b"here\n"
    assert flat.exec("1", "/bin/ls").stdout == b""
    assert flat.finish(first)[1] == "mine\n"


def test_a_node_without_private_views_runs_plain_and_says_so(cluster: Cluster) -> None:
    cluster.slave(1, "-p=false")
    assert cluster.states() == {"1": "plain"}
    assert "plain: " in cluster.command("i").stdout.decode()
    (cluster.work / "f").write_text("f\n")
    done = cluster.exec("-f", "f", "1", "/bin/cat", "f")
    assert (done.returncode, done.stdout) == (0, b"f\n"), done.stderr
    grand = cluster.exec("1", "/bin/sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo started")
    assert (grand.returncode, grand.stdout) == (0, b"started\n")
    cluster.nothing_runs()


@pytest.mark.parametrize(
    ("name", "content", "mode", "status"),
    [
        ("absent", None, 0, 127),
        ("closed", "#!/bin/sh\n", 0o644, 126),
        ("binary", "\0no program\n", 0o755, 126),
    ],
)
def test_a_program_that_cannot_run_is_refused_before_anything_is_sent(
    flat: Cluster, name: str, content: str | None, mode: int, status: int
) -> None:
    if content is not None:
        (flat.work / name).write_text(content)
        (flat.work / name).chmod(mode)
    mark = flat.master.mark()
    done = flat.exec(".", f"./{name}")
    assert done.returncode == status, done.stderr
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1
    assert flat.master.mark() == mark


def test_with_binroot_a_program_finds_its_bundle_where_the_command_says(flat: Cluster) -> None:
    where = flat.place / "there"
    where.mkdir()
    (flat.work / "f").write_text("f\n")
    script = 'echo "$GPROC_ROOT"; cat "$GPROC_ROOT/$1"'
    done = flat.exec(f"-binRoot={where}", "-f", "f", "1", "/bin/sh", "-c", script, "sh", str(flat.work / "f"))
    assert (done.returncode, done.stdout) == (0, f"{where}\nf\n".encode()), done.stderr
    assert not list(where.iterdir())


def test_a_program_that_fails_for_want_of_a_file_that_is_here_gets_a_hint(flat: Cluster) -> None:
    (flat.work / "wanted.txt").write_text("here")
    done = flat.exec("1", "/bin/sh", "-c", 'n=wanted; exec cat "./$n.txt" /no/such')
    assert done.returncode == 1
    hint = b"gproc: ./wanted.txt is here and was not sent: -f sends it, and --trace whatever the program opens\n"
    assert done.stderr.endswith(hint), done.stderr
    done = flat.exec("--trace", "1", "/bin/sh", "-c", 'n=wanted; exec cat "./$n.txt"')
    assert (done.returncode, done.stdout, done.stderr) == (0, b"here", b"")


def test_directories_that_a_failed_command_names_and_nobody_sent_are_said(flat: Cluster) -> None:
    """A small one goes along: tests/bundle/test_around.py."""
    (flat.work / "inputs").mkdir(exist_ok=True)
    for number in range(301):
        (flat.work / "inputs" / str(number)).touch()
    done = flat.exec("1", "/bin/sh", "-c", "exit 3", "x", "inputs")
    assert done.stderr == b"gproc: 1: exit status 3\ngproc: the command names inputs, which only -f sends\n"


def test_a_node_whose_binroot_was_removed_runs_jobs(cluster: Cluster) -> None:
    node = cluster.slave(1)
    assert cluster.exec("1", "/bin/true").returncode == 0
    node.bin_root.rmdir()
    assert cluster.exec("1", "/bin/sh", "-c", "cd $GPROC_ROOT").returncode == 0
