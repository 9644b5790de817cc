"""`gproc-rsh`, alone and under the programs that expect ssh."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster

BINARY = bytes(range(256)) * 20_000


@pytest.fixture
def agent(tree: Cluster, tmp_path: Path) -> Path:
    """The path of one executable, as those programs want it."""
    (tree.home / "config.toml").write_text(f'[e]\nsocket = "{tree.socket}"\nlabel = true\n')
    path = tmp_path / "agent"
    python = f"PYTHONPATH={os.getcwd()} exec {sys.executable} -m gproc.adapters.rsh.main"
    path.write_text(f'#!/bin/sh\n{python} "$@"\n')
    path.chmod(0o755)
    return path


def run(
    tree: Cluster, *words: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None, **more: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(word) for word in words], env={**tree.env, **(env or {}), **more}, cwd=tree.work, capture_output=True,
        timeout=PATIENCE_S, input=stdin,
    )  # fmt: skip


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}: install Debian's package")


def test_a_line_runs_in_the_login_shell_and_the_home_of_the_user_on_the_node(tree: Cluster, agent: Path) -> None:
    done = run(tree, agent, "-x", "1/2", 'cd; pwd; echo "$HOME $SHELL $USER $GPROC_NODE $GPROC_SECRET";', "exit 3",
               GPROC_SECRET="x", LC_ALL="C")  # fmt: skip
    me = pwd.getpwuid(os.geteuid())
    assert done.stdout.decode().split() == [me.pw_dir, me.pw_dir, me.pw_shell or "/bin/sh", me.pw_name, "1/2"]
    assert (done.returncode, done.stderr) == (3, b"")


def test_files_are_the_nodes_own_and_stay(tree: Cluster, agent: Path, tmp_path: Path) -> None:
    assert run(tree, agent, "1", f"echo kept > {shlex.quote(str(tmp_path / 'file'))}").returncode == 0
    assert (tmp_path / "file").read_text() == "kept\n"


def test_streams_are_binary_and_input_ends_before_output(tree: Cluster, agent: Path) -> None:
    assert run(tree, agent, "3", "cat; echo end", stdin=BINARY).stdout == BINARY + b"end\n"
    assert run(tree, agent, "-n", "3", "cat; echo end", stdin=BINARY).stdout == b"end\n"


@pytest.mark.parametrize(
    ("command", "status"), [("exit 125", 125), ("exit 255", 255), ("none-such", 127), ("kill -9 $$", 137)]
)
def test_the_status_is_the_commands_own(tree: Cluster, agent: Path, command: str, status: int) -> None:
    done = run(tree, agent, "1", command)
    assert (done.returncode, b"gproc" in done.stderr) == (status, False)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("kn9 true", b"no node of the tree is called kn9"),
        ("77 true", b"not connected: 77"),
        ("-L 1:h:2 1 true", b"-L: gproc-rsh forwards no connections"),
        ("-l none-such-user 1 true", b"none-such-user"),
    ],
)
def test_its_own_failures_are_255_and_say_why(tree: Cluster, agent: Path, words: str, why: bytes) -> None:
    done = run(tree, agent, *words.split())
    assert (done.returncode, done.stdout) == (255, b"")
    assert why in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_session_lasts_until_what_it_put_into_the_background_has_ended(
    tree: Cluster, agent: Path, tmp_path: Path
) -> None:
    fifo, done = tmp_path / "fifo", tmp_path / "done"
    os.mkfifo(fifo)
    line = f"(read x < {fifo}; echo $x > {done}) </dev/null >/dev/null 2>&1 & echo begun"
    process = subprocess.Popen([str(agent), "1", line], env=tree.env, cwd=tree.work, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    fifo.write_text("went on\n")
    assert process.wait(PATIENCE_S) == 0
    assert done.read_text() == "went on\n"


def test_a_terminal_is_given_if_it_is_asked_for(tree: Cluster, agent: Path) -> None:
    ours, theirs = os.openpty()
    for words, is_one in (("-t", True), ("-T", False), ("-x", False)):
        done = subprocess.run(
            [str(agent), words, "1", "test -t 0"], env=tree.env, cwd=tree.work, stdin=theirs, timeout=PATIENCE_S,
            stdout=theirs, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert (done.returncode == 0, done.stderr) == (is_one, b""), words
    os.close(ours)
    os.close(theirs)


def test_a_terminal_that_was_forced_was_not_given_if_there_is_none_here(tree: Cluster, agent: Path) -> None:
    """As Ansible asks for it, for sudo.  What is typed is input; that its end is reached hangs nothing up."""
    for words, stdin in (("-tt", b""), ("-t -t", b""), ("-n -tt", b"for others\n")):
        done = run(tree, agent, *words.split(), "1", "tty; stty size; exit 3", stdin=stdin)
        assert (done.returncode, done.stderr) == (3, b""), words
        assert done.stdout.startswith(b"/dev/pts/") and done.stdout.endswith(b"\r\n24 80\r\n"), done.stdout
    typed = run(tree, agent, "-tt", "1", "read line; sleep 0.5; echo got $line; exit 4", stdin=b"typed\n")
    assert (typed.returncode, typed.stderr) == (4, b"")
    assert typed.stdout.endswith(b"got typed\r\n")
    once = run(tree, agent, "-t", "1", "tty")
    assert (once.returncode, once.stdout) == (1, b"not a tty\n")


def test_a_command_that_takes_ctrl_c_goes_on_and_has_its_own_status(tree: Cluster, agent: Path) -> None:
    """As with ssh: a shell between them ended by the signal, and its status was gproc-rsh's 255."""
    ours, theirs = os.openpty()
    line = "trap 'echo caught' INT; echo begun; sleep 100; echo after; exit 5"
    process = subprocess.Popen(
        [str(agent), "-t", "1", line], env=tree.env, cwd=tree.work, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # the terminal's end
        while piece := os.read(ours, 4096):
            said += piece
            if piece.endswith(b"begun\r\n"):
                os.write(ours, b"\x03")
    assert process.wait(PATIENCE_S) == 5, said
    assert said.split() == [b"begun", b"^Ccaught", b"after"]
    os.close(ours)


def test_switches_of_the_environment_have_a_program_sent(tree: Cluster, agent: Path) -> None:
    data = tree.work / "with blank"
    data.write_text("sent")
    assert run(tree, agent, "3", f"cat '{data}'", GPROC_RSH=f"-f '{data}'").stdout == b"sent"
    for switches, why in (("'", b"GPROC_RSH is not quoted"), ("--no-such", b"--no-such")):
        wrong = run(tree, agent, "3", "true", GPROC_RSH=switches)
        assert (wrong.returncode, why in wrong.stderr) == (255, True)


def test_rsync_copies_both_ways(tree: Cluster, agent: Path, tmp_path: Path) -> None:
    needs("rsync")
    here, there, back = tmp_path / "here", tmp_path / "there", tmp_path / "back"
    here.mkdir()
    (here / "binary").write_bytes(BINARY)
    (here / "link").symlink_to("binary")
    for source, target in ((here, f"1.2:{there}"), (f"1.2:{there}", back)):
        done = run(tree, "rsync", "-a", "-e", agent, f"{source}/", f"{target}/")
        assert (done.returncode, done.stderr) == (0, b"")
    assert (back / "binary").read_bytes() == BINARY
    assert (back / "link").readlink() == Path("binary")


def test_git_clones_and_pushes(tree: Cluster, agent: Path, tmp_path: Path) -> None:
    needs("git")
    env = {"GIT_SSH": str(agent), "GIT_CONFIG_GLOBAL": "/dev/null"} | {
        f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    bare, clone = tmp_path / "bare", tmp_path / "clone"
    for words in (
        ("git", "init", "-q", "--bare", bare),
        ("git", "clone", "-q", f"3:{bare}", clone),
        ("git", "-C", clone, "commit", "-q", "--allow-empty", "-m", "x"),
        ("git", "-C", clone, "push", "-q", "origin", "HEAD:main"),
        ("git", "-C", bare, "rev-parse", "main"),
    ):
        done = run(tree, *words, env=env)
        assert done.returncode == 0, done.stderr


def test_scp_uses_the_nodes_sftp_server(tree: Cluster, agent: Path, tmp_path: Path) -> None:
    needs("scp")
    places = ("lib/openssh", "libexec/openssh", "lib/ssh")
    if not any(os.access(f"/usr/{place}/sftp-server", os.X_OK) for place in places):
        pytest.skip("needs an sftp-server on the node: Debian's openssh-sftp-server")
    (tmp_path / "binary").write_bytes(BINARY)
    done = run(tree, "scp", "-q", "-S", agent, tmp_path / "binary", f"1:{tmp_path}/there")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "there").read_bytes() == BINARY


def test_clush_runs_it_for_each_node(tree: Cluster, agent: Path) -> None:
    needs("clush")
    done = run(tree, "clush", "--worker=exec", "-w", "1,3", f"{agent} %h 'echo $GPROC_NODE'")
    assert sorted(done.stdout.split(b"\n")) == [b"", b"1: 1", b"3: 3"]


@pytest.mark.stress
def test_ansible_runs_modules_and_copies(tree: Cluster, agent: Path, tmp_path: Path) -> None:
    needs("ansible-playbook")
    (tmp_path / "inventory").write_text("n1 ansible_host=1\nn3 ansible_host=3\n")
    (tmp_path / "ansible.cfg").write_text(f"[ssh_connection]\nssh_executable={agent}\ntransfer_method=piped\n")
    (tmp_path / "play.yml").write_text(
        "- hosts: all\n  gather_facts: no\n  tasks:\n"
        f"    - copy: {{content: '{{{{ inventory_hostname }}}}', dest: '{tmp_path}/{{{{ inventory_hostname }}}}'}}\n"
        "    - {command: sh -c 'exit 3', register: r, failed_when: r.rc != 3}\n"
    )
    env = {"ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")}
    done = run(tree, "ansible-playbook", "-i", tmp_path / "inventory", tmp_path / "play.yml", env=env)
    assert done.returncode == 0, done.stdout
    assert [(tmp_path / name).read_text() for name in ("n1", "n3")] == ["n1", "n3"]


@pytest.mark.stress
def test_open_mpi_starts_its_daemons_which_put_themselves_into_the_background(tree: Cluster, agent: Path) -> None:
    needs("mpirun.openmpi")
    line = "echo $OMPI_COMM_WORLD_RANK on $GPROC_NODE"
    words = ("--allow-run-as-root", "--oversubscribe", "--mca", "plm_rsh_agent", agent, "-H", "1:2,3:2", "-n", "4")
    done = run(tree, "mpirun.openmpi", *words, "sh", "-c", line)
    assert sorted(done.stdout.split(b"\n"))[1:] == [b"0 on 1", b"1 on 1", b"2 on 3", b"3 on 3"], done.stderr
