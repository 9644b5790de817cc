"""`-debug=3` says what happens, in every mode, on stderr; without it a command that goes well says nothing."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from gproc import native
from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster

STEP = re.compile(r"gproc: \d+\.\d{3} s: (.*)")


def steps(stderr: bytes | str) -> list[str]:
    """The steps that a command names; every line is one."""
    lines = (stderr if isinstance(stderr, str) else stderr.decode()).splitlines()
    found = [STEP.fullmatch(line) for line in lines]
    assert all(found), lines
    return [match.group(1) for match in found if match]


def named(steps: list[str], *patterns: str) -> None:
    """Check that steps match these patterns, in this order."""
    left = iter(steps)
    for pattern in patterns:
        assert any(re.search(pattern, step) for step in left), (pattern, steps)


def alone(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command that needs no cluster."""
    home.mkdir(exist_ok=True)
    home.chmod(0o700)
    env = {**os.environ, "GPROC_HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    done = subprocess.run([*gproc_as(None), *words], env=env, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_e_says_what_was_packed_what_the_master_answered_and_how_each_node_ended(tree: Cluster) -> None:
    program = tree.write_program("traced", "echo said; exit $GPROC_RANK")
    done = tree.exec("-debug=3", "1-3", program, stdin=subprocess.PIPE, input=b"")
    assert (done.returncode, done.stdout) == (125, b"said\nsaid\n")
    lines = done.stderr.decode().splitlines()
    said = steps("\n".join(line for line in lines if STEP.fullmatch(line)))
    named(
        said,
        rf"packs {program}",
        rf"{program}: the program",
        rf"packed {program}: \d+ files, bundle [0-9a-f]{{16}}, \d+ bytes",
        rf"asks the master at {tree.socket} for nodes 1-3",
        r"took it as job \d+ on 1-2; not connected: 3",
        "asks for [0-9]+ chunks",
    )
    for pattern in ("standard input has ended", "1 wrote 5 bytes to stdout", "2 has ended: exit status 1"):
        named(said, pattern)
    assert said[-1] == "ends with status 125"
    others = {line for line in lines if not STEP.fullmatch(line)}
    assert others == {"gproc: 2: exit status 1", "gproc: 3: not connected"}


def test_less_of_it_at_level_1_and_nothing_at_level_0(tree: Cluster) -> None:
    few = steps(tree.exec("-debug=1", "-n", "1", "/bin/echo").stderr)
    many = steps(tree.exec("-debug=3", "-n", "1", "/bin/echo").stderr)
    assert 0 < len(few) < len(many)
    assert tree.exec("-n", "1", "/bin/echo").stderr == b""


def test_e_says_why_nothing_was_run(tree: Cluster) -> None:
    done = tree.exec("-debug=3", "9", "/bin/true")
    assert done.returncode == 125
    assert "the master does not take the job" in done.stderr.decode()
    assert done.stderr.decode().endswith("gproc: not connected: 9\n")


def test_cp_and_get_say_what_they_read_and_how_each_node_ended(tree: Cluster, place: Path) -> None:
    (place / "file").write_text("content")
    done = tree.command("cp", "-debug=3", str(place / "file"), f"1-2:{place}/copy")
    named(steps(done.stderr), f"reads {place}/file", "packed bundle", "asks the master", "took it as job", "has ended")
    done = tree.command("get", "-debug=3", f"1-2:{place}/copy", str(place / "home"))
    named(steps(done.stderr), "asks the master", "took it as job", "1 wrote [0-9]+ bytes", "1 has ended: exit status 0")


def test_i_says_who_answered(tree: Cluster) -> None:
    done = tree.command("i", "-debug=3")
    named(steps(done.stderr), f"asks the master at {tree.socket}", "answered: 2 nodes")


def test_ps_says_who_answered(tree: Cluster) -> None:
    done = tree.command("ps", "-debug=3")
    named(steps(done.stderr), f"asks the master at {tree.socket}", "answered: [0-9]+ jobs")


def test_the_commands_about_jobs_say_what_they_ask(tree: Cluster) -> None:
    begun = tree.exec("-d", "1", "/bin/sh", "-c", "sleep 1000")
    assert begun.returncode == 0, begun.stderr
    number = begun.stdout.decode().strip()
    attached = tree.begin("attach", "-debug=3", number)
    assert attached.stderr is not None
    assert b"asks the master" in attached.stderr.readline()
    assert b"took it as job" in attached.stderr.readline()
    shown = steps(tree.command("stacks", "-debug=3", number).stderr)
    named(shown, "asks the master .* where the processes of job", "1 nodes of 1 have answered")
    named(steps(tree.command("kill", "-debug=3", number).stderr), "asks the master .* to send SIGTERM", "it is sent")
    _, _, rest = tree.finish(attached)
    waited = tree.command("wait", "-debug=3", number).stderr.decode()
    ending = "gproc: 1: killed by SIGTERM\n"
    assert ending in rest and ending in waited
    named(steps(rest.replace(ending, "")), "has ended", "ends with status 143")
    named(steps(waited.replace(ending, "")), "asks the master .* for the end of job")
    named(steps(tree.command("logs", "-debug=3", number).stderr), "asks the master .* for the output of job")
    named(steps(tree.command("rm", "-debug=3", number).stderr), "asks the master .* to remove 1", "1 jobs are removed")


def test_bundle_says_what_it_packs_and_writes(tmp_path: Path) -> None:
    said = steps(alone(tmp_path, "bundle", "-debug=3", f"--tar={tmp_path}/b.tar", "date").stderr)
    named(said, "packs date", "packed .*/date: bundle", "dynamic linker", f"wrote {tmp_path}/b.tar")


def test_cert_says_whose_keys_it_makes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    said = steps(alone(home, "cert", "-debug=3", f"--out={tmp_path}/out", "kn1").stderr)
    named(said, f"makes the cluster's authority in {home}", "cluster [0-9a-f]+", f"for kn1 in {tmp_path}/out/kn1")
    again = steps(alone(home, "cert", "-debug=1", f"--out={tmp_path}/out", "kn2").stderr)
    named(again, "opens the cluster's authority")


@pytest.mark.skipif(bool(native.why_missing()), reason="needs the static helper")
@pytest.mark.stress
def test_runtime_says_what_it_holds_and_where_it_is_written(tmp_path: Path) -> None:
    said = steps(alone(tmp_path, "runtime", "-debug=1", f"--tar={tmp_path}/r").stderr)
    named(said, r"runtime [0-9a-f]{64} of \d+ files", f"wrote {tmp_path}/r")


def test_store_says_where_it_looks_and_what_it_removes(tree: Cluster, tmp_path: Path) -> None:
    program = tree.write_program("stored", "echo kept")
    assert tree.exec("1", program).stdout == b"kept\n"
    base = tree.place / "s1" / "store"
    said = steps(alone(tmp_path, "store", "-debug=3", f"--store={base}", "--prune=0").stderr)
    named(said, f"found 1 stores below {base}", r"has \d+ bundles", f"removed .*{program}, from {base}")


def test_config_says_which_files_it_reads_and_what_they_set(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "config.toml").write_text("[e]\nlabel = true\n")
    (tmp_path / "config.toml").chmod(0o600)
    said = steps(alone(tmp_path, "config", "-debug=3").stderr)
    named(said, "/etc/gproc/config.toml", f"{tmp_path}/config.toml sets 1 defaults", "mode e: label is True")


def test_master_and_slave_log_what_they_were_told_and_each_step_of_a_job(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.start_master("-debug=3")
    slave = cluster.slave(1, "-debug=3")
    program = cluster.write_program("logged", "exit 3")
    assert cluster.exec("1", program).returncode == 3
    assert cluster.exec("7", program).returncode == 125
    for pattern in (
        "locale local: this master's address is 127.0.0.1", r"cluster [0-9a-f]+, keys in ", "store .*/store-m",
        "job 1: bundle [0-9a-f]{16}, ", "a client is asked for [0-9]+ chunks", "job 1: 1 has ended: exited, status 3",
        "a request for nodes 7 is not taken: not connected: 7",
    ):  # fmt: skip
        cluster.master.says(pattern)
    for pattern in (
        "locale local: id 1", "this host is .* of cluster ", "jobs find their bundles at ",
        "job 1: uid [0-9]+, runs here", "the parent is asked for [0-9]+ chunks",
        "job 1: its bundle is here", "job 1: started", "job 1: ended: exited",
    ):  # fmt: skip
        slave.says(pattern)
    cluster.stop()


@pytest.mark.parametrize("level", ["0", "3"])
def test_what_the_program_says_is_the_same_with_and_without_it(tree: Cluster, level: str) -> None:
    done = tree.exec(f"-debug={level}", "-n", "1", "/bin/sh", "-c", "echo out; echo err >&2")
    assert done.stdout == b"out\n"
    assert [line for line in done.stderr.splitlines() if not line.startswith(b"gproc: ")] == [b"err"]
