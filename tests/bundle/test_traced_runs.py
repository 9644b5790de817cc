"""`--trace`: what a program touches when it is run once at home goes along, then and later."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gproc.bundle.tracing import observed
from gproc.bundle.tracing.observed import Observed
from gproc.bundle.tracing.observing import observe

READS = """
import os, sys
names = [os.path.join(os.getcwd(), "made", part) for part in ("up", "names")]
print([open(name).read() for name in names])
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "home"
    (place / "made").mkdir(parents=True)
    for name in ("up", "names"):
        (place / "made" / name).write_text(name)
    (place / "reads.py").write_text(READS)
    return place


def gproc(home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), **more}
    command = [sys.executable, "-m", "gproc", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environ, cwd=home, timeout=300)


def sent(home: Path, *words: str) -> set[str]:
    done = gproc(home, "bundle", "--json", *words)
    assert done.returncode == 0, done.stderr
    return {line["path"] for line in json.loads(done.stdout)["files"]}


def run(*argv: str) -> tuple[Observed, int]:
    """What a shell's line touches, and its exit status; its output goes nowhere."""
    with open(os.devnull, "r+b", buffering=0) as nothing:
        found = observe(shutil.which(argv[0]) or argv[0], argv, os.environ, [nothing.fileno()] * 3)
    return found.observed, found.status


def lives(pid: str) -> bool:
    """Whether there is such a process, and it is no zombie that waits for init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.mark.slow
def test_files_whose_names_a_program_makes_up_go_along(home: Path) -> None:
    names = {f"{home}/made/up", f"{home}/made/names"}
    assert not names & sent(home, "/usr/bin/python3", "reads.py")
    done = gproc(home, "bundle", "--trace", "--json", "/usr/bin/python3", "reads.py")
    assert done.stderr == "['up', 'names']\n", "the program's own output is beside the table"
    assert names <= {line["path"] for line in json.loads(done.stdout)["files"]}
    assert names <= sent(home, "/usr/bin/python3", "reads.py")
    assert not names & sent(home, "--no-trace", "/usr/bin/python3", "reads.py")
    assert not names & sent(home, "/usr/bin/python3", "-c", "pass"), "another script's run is no run of this one"


def test_each_run_adds_to_those_before_it_and_what_is_gone_is_left_out(home: Path) -> None:
    for name in ("up", "names"):
        assert gproc(home, "bundle", "--trace", "sh", "-c", 'n=made/; cat "$n$X"', X=name).returncode == 0
    line = ("sh", "-c", 'n=made/; cat "$n$X"')
    assert {f"{home}/made/up", f"{home}/made/names"} <= sent(home, *line)
    (home / "made/up").unlink()
    assert f"{home}/made/names" in sent(home, *line)
    assert f"{home}/made/up" not in sent(home, *line)


def test_a_program_that_another_one_runs_goes_along_with_its_libraries(home: Path) -> None:
    found = sent(home, "--trace", "sh", "-c", 'p=gz; echo | "${p}ip" -c >/dev/null')
    assert any(path.endswith("/bin/gzip") for path in found)


def test_what_a_run_makes_changes_or_empties_is_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    for name in ("old", "grows"):
        (home / name).write_text("x")
    line = "echo 1 > made/new; cat made/new; echo 2 > old; cat old; cat grows; echo >> grows"
    touched, status = run("sh", "-c", line)
    assert status == 0
    names = {os.fsdecode(path).rpartition("/")[2] for path in touched.files}
    assert not names & {"new", "old"}
    assert "grows" in names, "it was read before it was changed"


def test_the_nodes_own_files_and_secrets_stay_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    (home / ".ssh").mkdir()
    (home / ".ssh/id").write_text("secret")
    (home / "link").symlink_to(".ssh/id")
    (home / "keys").mkdir()
    (home / "keys/ca.key").write_text("secret")
    monkeypatch.setenv("GPROC_HOME", str(home / "keys"))
    assert not [path for path in run("cat", "keys/ca.key", "made/up")[0].files if b"keys" in path]
    touched, _ = run("sh", "-c", "cat /etc/passwd /etc/hosts /proc/self/stat /dev/null .ssh/id link made/up >/dev/null")
    assert [path for path in touched.files if b"etc/passwd" in path or b"hosts" in path or b"/proc/" in path] == []
    assert [path for path in touched.files if b".ssh" in path or b"link" in path] == []
    assert os.fsencode(home / "made/up") in touched.files


def test_a_directory_that_a_program_looks_for_goes_along_empty(home: Path) -> None:
    (home / "made/plug-ins").mkdir()
    found = gproc(home, "bundle", "--trace", "--tar", f"{home}/b.tar", "sh", "-c", 'd=made/; test -d "${d}plug-ins"')
    assert found.returncode == 0, found.stderr
    listed = subprocess.check_output(["tar", "-tf", f"{home}/b.tar"], text=True).splitlines()
    assert any(name.rstrip("/").endswith("made/plug-ins") for name in listed)


def test_threads_forks_and_programs_in_the_background_are_followed_to_the_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    program = """
import os, subprocess, threading
thread = threading.Thread(target=lambda: open("made/up").read())
thread.start(); thread.join()
if os.fork() == 0:
    open("made/names").read()
    os._exit(0)
os.wait()
print(subprocess.Popen(["sleep", "1000"], start_new_session=True).pid, file=open("pid", "w"))
raise SystemExit(3)
"""
    touched, status = run("python3", "-c", program)
    assert status == 3
    assert {os.fsencode(home / "made/up"), os.fsencode(home / "made/names")} <= set(touched.files)
    assert not lives((home / "pid").read_text().strip()), "as in a job, nothing is left of it"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("kill -TERM $$", 128 + signal.SIGTERM),
        ("trap 'exit 7' USR1; kill -USR1 $$; exit 1", 7),
        ("(sleep 0.1; kill -CONT $$) & kill -STOP $$; exit 4", 4),
    ],
)
def test_signals_reach_a_traced_program_as_any_other(line: str, status: int) -> None:
    assert run("sh", "-c", line)[1] == status


def test_a_run_that_fails_is_named_and_what_it_opened_goes_along(home: Path) -> None:
    done = gproc(home, "bundle", "--trace", "--json", "sh", "-c", 'f=up; cat "made/$f"; exit 3')
    assert done.returncode == 0
    assert "--trace: here it ended with exit status 3" in done.stderr
    assert f"{home}/made/up" in done.stdout


def test_a_file_that_is_too_large_is_named_and_not_taken(home: Path) -> None:
    with open(home / "large", "wb") as file:
        file.truncate(101 << 20)
    done = gproc(home, "bundle", "--trace", "sh", "-c", 'f=lar; head -c 1 "${f}ge"')
    assert f"too large to go along unasked: {home}/large" in done.stderr
    assert "/large\t" not in done.stdout


def test_a_trace_of_another_systems_program_is_refused(home: Path) -> None:
    done = gproc(home, "bundle", "--trace", "-r", str(home), "sh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "-r takes it from another system" in done.stderr
    done = gproc(home, "e", "--trace", "-localbin", ".", "sh")
    assert (done.returncode, done.stdout) == (2, "")


def test_what_was_kept_and_cannot_be_read_counts_for_nothing(tmp_path: Path) -> None:
    observed.keep(str(tmp_path), "name", Observed(files=(b"/a",)))
    recalled = observed.recall(str(tmp_path), "name")
    assert recalled is not None
    assert recalled.observed().files == (b"/a",)
    (tmp_path / observed.FOLDER / "name").write_bytes(b"\xc1")
    recalled = observed.recall(str(tmp_path), "name")
    assert recalled is not None
    assert recalled.observed() == Observed()
    assert observed.recall(str(tmp_path), "other") is None
