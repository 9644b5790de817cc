"""Where a program and its files are on a node, beside what the node has there itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def project(site: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory of the caller's, whose path the node has too: it is the same machine."""
    made = Path(site.cluster.place / f"project{os.urandom(4).hex()}")
    made.mkdir()
    made.chmod(0o777)
    (made / "data").write_text("data\n")
    return made


def test_a_word_that_names_a_file_brings_it_along(site: Any, project: Path) -> None:
    (project / "other").write_text("other\n")
    done = site.run("1", "sh", "-c", "cat data; ls", cwd=project)
    assert done.stdout == b"data\ndata\n", done.stderr


def test_without_words_nothing_but_the_program_goes_along(site: Any, project: Path) -> None:
    done = site.run("--no-words", "1", "cat", "data", cwd=project)
    assert (done.returncode, done.stdout) == (1, b"")
    assert site.run("1", "cat", "data", cwd=project).stdout == b"data\n"


def test_the_working_directory_is_private_and_at_its_own_path(site: Any, project: Path) -> None:
    done = site.run("1", "sh", "-c", 'pwd; echo "$PWD"; echo x > left; ls', cwd=project, env={"PWD": str(project)})
    lines = done.stdout.decode().splitlines()
    if not site.plain:
        assert lines == [str(project), str(project), "left"]
    assert lines[0] == lines[1]
    assert not (project / "left").exists()


def test_a_directory_of_the_node_is_written_for_real(site: Any, project: Path) -> None:
    script = 'pwd; echo "$PWD"; cat data; echo x > left'
    done = site.run("--cwd", str(project), "1", "sh", "-c", script, env={"PWD": "/"})
    assert done.stdout.decode().splitlines() == [str(project), str(project), "data"], done.stderr
    assert (project / "left").read_text() == "x\n"


def test_a_file_of_f_is_at_its_own_path_and_below_the_root(site: Any, project: Path) -> None:
    if site.plain:
        pytest.skip("a plain node has it below the root")
    path = project / "data"
    done = site.run("-f", str(path), "1", "sh", "-c", f"cat {path} $GPROC_ROOT{path}", cwd="/")
    assert done.stdout == b"data\ndata\n", done.stderr


def test_a_sparse_file_takes_no_more_of_a_node_than_its_data(site: Any, project: Path) -> None:
    """A hole of 3 GB filled 3 GB of each store, and as much memory if it lay in the working directory."""
    with open(project / "sparse", "wb") as sparse:
        sparse.write(b"begin")
        sparse.seek(2_000_000_000)
        sparse.write(b"middle")
        sparse.truncate(3_000_000_000)
    script = "stat -c %s sparse; head -c 5 sparse; tail -c +2000000001 sparse | head -c 6; echo; du -k sparse"
    done = site.run("-f", "sparse", "1", "sh", "-c", script, cwd=project)
    size, text, used = done.stdout.decode().splitlines()
    assert (size, text) == ("3000000000", "beginmiddle"), done.stderr
    assert int(used.split()[0]) <= 3 << 10, "the chunks with data and the last, which is none of a whole MiB"


def test_a_script_without_a_first_line_is_run_by_a_shell(site: Any, project: Path) -> None:
    script = project / "script"
    script.write_text('echo "$0 $1"\n')
    script.chmod(0o755)
    done = site.run("1", "./script", "word", cwd=project)
    wanted = f"{site.root}/" if site.plain else "./script word"
    assert done.stdout.decode().startswith(wanted), done.stderr


@pytest.mark.parametrize("line", ["#!./mine it", "#!mine it", "#!./other it", "#!"])
def test_a_script_runs_by_what_its_first_line_names_from_the_working_directory(
    site: Any, project: Path, line: str
) -> None:
    """On a plain node the script was given to the loader as if it were ELF: "file too short"."""
    shutil.copy("/bin/echo", project / "mine")
    scripts = {"other": "#!./mine other\n", "prog": f"{line}\necho it ./prog $1\n"}
    for name, text in scripts.items():
        (project / name).write_text(text)
        (project / name).chmod(0o755)
    done = site.run("1", "./prog", "word", cwd=project)
    at_home = ["other", "./other", "it"] if "other" in line else ["it"]
    assert [os.path.basename(word) for word in done.stdout.decode().split()] == [
        *map(os.path.basename, at_home), "prog", "word",
    ], done.stderr  # fmt: skip


def test_a_program_that_another_runs_goes_along(site: Any, project: Path) -> None:
    script = project / "prog"
    script.write_text("#!/bin/sh\necho $A\n")
    script.chmod(0o755)
    assert site.run("1", "env", "A=5", "timeout", "9", "./prog", cwd=project).stdout == b"5\n"
    assert site.run("1", "sh", "-c", "./prog", cwd=project, env={"A": "6"}).stdout == b"6\n"


def test_a_program_of_the_node_that_the_working_directory_hides_is_told_so(site: Any, project: Path) -> None:
    """`gproc e -localbin . ./prog`: "No such file or directory", of a file that the node has."""
    (project / "own").write_text("#!/bin/sh\necho own\n")
    (project / "own").chmod(0o755)
    for name in ("./own", str(project / "own")):
        done = site.run("-localbin", "1", name, cwd=project)
        if not site.plain or name == "./own":
            assert done.returncode == 127
            assert f"hides what a node has there: --cwd {project} starts in" in done.stderr.decode()
    assert site.run("-localbin", "--cwd", str(project), "1", "./own", cwd=project).stdout == b"own\n"


def test_a_binroot_that_cannot_be_made_or_hides_the_program_is_told_as_that(site: Any, project: Path) -> None:
    """It said "No such file or directory" of the directory that nobody may make, and of the program."""
    if site.plain:
        pytest.skip("needs a view")
    hidden = site.run("--bin-root", "/usr/bin", "1", "sh", "-c", "true")
    assert b"binRoot /usr/bin would hide /usr/bin/" in hidden.stderr
    in_proc = site.run("--bin-root", "/proc/here", "1", "true")
    assert b"binRoot /proc/here: a job has a /proc of its own" in in_proc.stderr
    if site.uid:
        (project / "closed").mkdir(mode=0o755)
        refused = site.run("--bin-root", str(project / "closed/here"), "1", "true")
        assert f"{project}/closed/here: Permission denied".encode() in refused.stderr


def test_a_hard_link_to_a_file_that_went_along_is_that_file(site: Any, project: Path) -> None:
    """git clone of a directory that was sent: "hardlink different from source"."""
    if site.uid and not site.plain:
        pytest.skip("the kernel keeps inode numbers over copies only for a mount that root made")
    script = "before=$(stat -c %i data); ln data other; test $before = $(stat -c %i other) && echo same"
    done = site.run("-f", "data", "1", "sh", "-c", script, cwd=project)
    assert done.stdout == b"same\n", done.stderr


@pytest.fixture
def image(project: Path) -> Path:
    """The root of an image that has a static program and a file in its root directory, and no directories."""
    busybox = Path("/bin/busybox")
    if not busybox.exists() or b"/ld-linux" in busybox.read_bytes():
        pytest.skip("needs a static busybox")
    (project / "image").mkdir()
    shutil.copy(busybox, project / "image/cat")
    (project / "image/gproc-data").write_text("data\n")
    return project / "image"


def test_a_program_and_a_file_in_the_root_directory_of_an_image_are_found(site: Any, image: Path) -> None:
    """`/app` of an image gave "No such file or directory"."""
    if site.plain:
        pytest.skip("a plain node has them below its root")
    done = site.run("-r", str(image), "-f", "/gproc-data", "--no-words", "1", "/cat", "/gproc-data", cwd="/")
    assert (done.returncode, done.stdout) == (0, b"data\n"), done.stderr


def test_the_images_program_runs_and_not_one_of_the_node_that_has_its_path(site: Any, image: Path) -> None:
    """The node's own /app was run instead, without a word."""
    if site.plain or os.geteuid() != 0:
        pytest.skip("needs a view, and root to write to /")
    path = Path(f"/cat-of-node{os.urandom(4).hex()}")
    shutil.copy(image / "cat", image / path.name)
    path.write_text("#!/bin/sh\necho of the node\n")
    path.chmod(0o755)
    try:
        done = site.run("-r", str(image), "1", str(path), cwd="/")
    finally:
        path.unlink()
    assert b"of the node" not in done.stdout
    assert b"applet not found" in done.stderr  # busybox ran, which knows itself by other names


def collected(where: Path, node: str = "1") -> dict[str, str]:
    """The files that came back, by their paths below the node's directory."""
    top = where / node
    return {str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()}


def test_files_that_a_job_wrote_come_back_before_they_are_gone(site: Any, project: Path) -> None:
    names = "out/a.csv out/deep/b.csv c.csv c.txt"
    script = f"mkdir -p out/deep empty; for name in {names}; do echo $name > $name; done; exit 3"
    done = site.run("--collect", "**/*.csv", "1", "sh", "-c", script, cwd=project)
    assert (done.returncode, done.stderr) == (3, b"gproc: 1: exit status 3\n")
    assert collected(project) == {name: f"{name}\n" for name in ("out/a.csv", "out/deep/b.csv", "c.csv")}
    assert not (project / "1/empty").exists()
    assert not (project / "out").exists()
    assert os.listdir(site.root) == []


def test_files_that_went_along_come_back_only_if_the_job_changed_them(site: Any, project: Path) -> None:
    (project / "same").write_text("same\n")
    where = "1", "sh", "-c", "echo more >> data; ln -s data link; cat data same >/dev/null"
    done = site.run("-f", "data,same", "--collect", "*", *where, cwd=project)
    assert (done.returncode, done.stderr) == (0, b"")
    assert collected(project) == {"data": "data\nmore\n", "link": "data\nmore\n"}
    assert os.readlink(project / "1/link") == "data"


def test_a_glob_that_nothing_matches_is_told_once_and_is_no_failure(site: Any, project: Path) -> None:
    script = "mkdir -p left/d; echo x > left/d/.y; echo x > z"
    done = site.run("--collect", "*.csv", "--collect", "left", "1", "sh", "-c", script, cwd=project)
    assert done.stderr == b"gproc: 1: nothing to collect: the job wrote no file that matches *.csv\n"
    assert done.returncode == 0
    assert collected(project) == {"left/d/.y": "x\n"}  # a directory that is named comes back whole


def test_a_file_that_cannot_be_read_is_named_and_the_others_come(site: Any, project: Path) -> None:
    if site.uid == 0 or not site.plain:
        pytest.skip("root reads everything, and a user everything of his own in a user namespace")
    script = "echo 1 > good; echo 2 > bad; chmod 0 bad; mkdir no; chmod 0 no"
    done = site.run("--collect", "*", "1", "sh", "-c", script, cwd=project)
    assert done.stderr == b"gproc: 1: bad: Permission denied\n"
    assert done.returncode == 125
    assert collected(project) == {"good": "1\n"}


def test_files_of_a_directory_of_the_node_are_collected_too(site: Any, project: Path) -> None:
    (project / "on-the-node").mkdir()
    (project / "on-the-node").chmod(0o777)
    words = "--cwd", str(project / "on-the-node"), "--collect", "*.log", "1", "sh", "-c", "echo 1 > x.log"
    done = site.run(*words, cwd=project)
    assert (done.returncode, done.stderr) == (0, b"")
    assert collected(project) == {"x.log": "1\n"}


GONE = (
    b"gproc: 1: files that the job wrote in its working directory are gone, because that is private: "
    b"--collect GLOB brings them back, --cwd DIR starts in a directory of the node\n"
)


def test_a_job_that_leaves_files_behind_says_so(site: Any, project: Path) -> None:
    done = site.run("1", "sh", "-c", "mkdir -p a/b; echo x > a/b/c; exit 1", cwd=project)
    assert done.stderr == b"gproc: 1: exit status 1\n" + GONE
    assert site.run("1", "sh", "-c", "cat data; echo x >> data", cwd=project).stderr == GONE


def test_caches_and_files_in_a_directory_of_the_node_are_not_left_behind(site: Any, project: Path) -> None:
    script = "cat data; mkdir -p __pycache__ .cache empty; echo x | tee __pycache__/x.pyc .cache/x gone; rm gone"
    assert site.run("1", "sh", "-c", script, cwd=project).stderr == b""
    assert site.run("--cwd", str(project), "1", "sh", "-c", "echo x > y", cwd=project).stderr == b""
    assert site.run("--collect", "z", "1", "sh", "-c", "echo x > y; echo x > z", cwd=project).stderr == b""
