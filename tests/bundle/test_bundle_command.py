"""`gproc bundle`: the closure for people, for programs, and as a tar file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.transfer.payload import Payload


def gproc(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environ = {
        **os.environ,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "GPROC_HOME": str(home / "gproc"),
    }
    command = [sys.executable, "-m", "gproc", "bundle", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)


def test_the_table_names_each_file_and_why_it_is_there(tmp_path: Path) -> None:
    done = gproc("date", home=tmp_path)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if "/date\t" in line)
    assert line.split("\t")[1:] == [str(os.path.getsize(os.path.realpath("/bin/date"))), "the program"]
    assert "needed by" in done.stdout


def test_json_has_the_same_content_for_programs(tmp_path: Path) -> None:
    report = json.loads(gproc("--json", "date", home=tmp_path).stdout)
    files = {line["path"]: line for line in report["files"]}
    assert files[report["program"]]["why"] == "the program"
    assert report["size_bytes"] == sum(line["size_bytes"] for line in report["files"])


NAMED = b"\0/usr/share/dpkg/\0/usr/share/dpkg/cputable\0/usr/share/no/such\0/bin/sh\0/etc/passwd\0"


def naming(directory: Path, names: bytes) -> str:
    """A program that names these paths: true(1), and bytes after it that nobody executes."""
    program = directory / "program"
    program.write_bytes(Path(os.path.realpath("/bin/true")).read_bytes() + names)
    program.chmod(0o755)
    return str(program)


def test_what_the_program_names_and_the_bundle_lacks_is_said_in_the_last_line(tmp_path: Path) -> None:
    if not os.path.exists("/usr/share/dpkg/cputable"):
        pytest.skip("this machine has no dpkg, whose files are named here")
    program = naming(tmp_path, NAMED + b"dlopen\0")
    said = "not in it: the program names /usr/share/dpkg/: a node must have them, or add them by -f or --with-package"
    dlopen = "; it may load libraries by names that it makes at run time (dlopen)"
    assert gproc(program, home=tmp_path).stdout.splitlines()[-1] == said + dlopen
    assert json.loads(gproc("--json", program, home=tmp_path).stdout)["named_not_sent"] == ["/usr/share/dpkg/"]
    sent = gproc("-f", "/usr/share/dpkg/cputable", program, home=tmp_path)
    assert "cputable" not in sent.stdout.splitlines()[-1]
    assert " files, " in gproc(naming(tmp_path, b""), home=tmp_path).stdout.splitlines()[-1]


def test_a_path_that_is_not_utf_8_and_looks_like_markup_is_shown(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/[red]\xff"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    done = gproc("-f", os.fsdecode(path), "date", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[red]\\xff" in done.stdout


def test_the_tar_file_is_the_bundle_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        assert gproc("--tar", str(tmp_path / name), "date", home=tmp_path).returncode == 0
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        names = archive.getnames()
        date = archive.extractfile(os.path.realpath("/bin/date").lstrip("/"))
        assert date is not None
        assert date.read() == Path("/bin/date").read_bytes()
    assert names == sorted(names)
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "b.tar"] + (["cache"] if (tmp_path / "cache").exists() else [])


@pytest.mark.parametrize(("program", "status"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_for_a_program_that_cannot_run_the_exit_status_is_a_shells(tmp_path: Path, program: str, status: int) -> None:
    done = gproc(program, home=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert program in done.stderr


def test_a_tar_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    done = gproc("--tar", str(tmp_path / "no" / "x.tar"), "date", home=tmp_path)
    assert done.returncode == 125
    assert "x.tar: cannot be written" in done.stderr


def test_a_tar_file_for_a_pipe_or_a_device_is_written_there_and_replaces_nothing(tmp_path: Path) -> None:
    pipe, device = tmp_path / "pipe", Path("/dev/full")
    os.mkfifo(pipe)
    assert gproc("--tar", str(tmp_path / "a.tar"), "date", home=tmp_path).returncode == 0
    with open(tmp_path / "came", "wb") as came, subprocess.Popen(["cat", pipe], stdout=came):
        assert gproc("--tar", str(pipe), "date", home=tmp_path).returncode == 0
    assert (tmp_path / "came").read_bytes() == (tmp_path / "a.tar").read_bytes()
    assert pipe.is_fifo()
    full = gproc("--tar", str(device), "date", home=tmp_path)
    assert (full.returncode, full.stderr) == (125, "gproc: /dev/full: cannot be written: No space left on device\n")
    assert device.is_char_device()


def test_files_that_a_switch_names_go_along(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    report = json.loads(gproc("--json", "-f", str(tmp_path / "data"), "date", home=tmp_path).stdout)
    assert str(tmp_path / "data") in {line["path"] for line in report["files"]}


def test_a_program_below_another_root_is_packed_from_there(tmp_path: Path) -> None:
    payload = Payload(tmp_path / "root", 1000)
    report = json.loads(gproc("--json", "-r", str(payload.root), "-f", payload.path, "/bin/sh", home=tmp_path).stdout)
    paths = {line["path"]: line["size_bytes"] for line in report["files"]}
    assert paths[payload.path] == 1000
    assert not Path(payload.path).exists()


def test_a_library_in_a_directory_of_l_is_packed_and_not_the_systems(tmp_path: Path) -> None:
    listed = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout
    libc = Path(next(word for word in listed.split() if word.startswith("/") and "libc.so" in word))
    (tmp_path / "libs").mkdir()
    shutil.copy(libc, tmp_path / "libs")
    report = json.loads(gproc("--json", "-L", str(tmp_path / "libs"), "/bin/sh", home=tmp_path).stdout)
    paths = {line["path"] for line in report["files"]}
    assert str(tmp_path / "libs" / libc.name) in paths
    assert str(libc) not in paths
