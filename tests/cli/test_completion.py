"""Completion: what may follow on a half-typed line, and that real shells show it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.cli.completing import NODES_MAX, node_candidates
from gproc.cli.completion import complete
from gproc.cli.modes import MODES, Mode
from gproc.cli.parse import parse
from gproc.cli.shells import shell_named
from gproc.cli.switch import Switch
from gproc.cli.switches import SWITCHES, switches_of
from gproc.errors import UsageError
from gproc.wire.messages import NodeInfo, NodeState
from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster

BIN = str(Path(sys.executable).parent)


def offered(*words: str) -> list[str]:
    return [word for word, _ in complete(words).candidates]


def test_without_a_mode_all_modes_are_offered() -> None:
    assert offered("") == [*(mode.letters for mode in MODES), "help"]
    assert offered("e") == ["e", "exec"]
    assert offered("help", "mas") == ["master"]


def test_after_a_switch_only_modes_that_take_it_are_offered() -> None:
    assert offered("-locale=local", "") == ["m", "s", "start"]
    assert offered("--address", "10.0.0.1", "") == ["m", "s", "cert", "key", "start", "restart", "upgrade"]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_mode_is_offered_its_own_switches_in_every_spelling(mode: Mode) -> None:
    shown = {name for switch in switches_of(mode) for name in switch.shown()}
    assert set(offered(mode.letters, "-")) == {*shown, "--help"}


def test_a_switch_is_completed_in_the_spelling_that_was_begun() -> None:
    assert offered("e", "-binR") == ["-binRoot"]
    assert offered("e", "--binR") == ["--binRoot"]
    assert offered("e", "--bin") == ["--bin-root"]


def test_after_the_command_no_switch_of_gproc_is_offered() -> None:
    for words in (["e", ".", "ls", "-"], ["e", "-l", ".", "ls", "--bin"], ["e", ".", "ls", ""]):
        answer = complete(words)
        assert (answer.candidates, answer.offer) == ((), "file")
    assert complete(["e", ".", ""]).offer == "command"


def test_after_two_dashes_no_switch_is_offered() -> None:
    assert offered("bundle", "--", "-") == []


@pytest.mark.parametrize(
    ("words", "offer", "prefix"),
    [
        (["m", "-locale", ""], "locale", ""),
        (["m", "--locale=k"], "locale", "--locale="),
        (["e", "-x", "1,2"], "nodes", "1,"),
        (["e", "-f", "a,b"], "file", "a,"),
        (["e", "-f=a,b"], "file", "-f=a,"),
        (["e", "-L", ""], "directory", ""),
        (["e", "1,"], "nodes", "1,"),
        (["cp", ""], "file", ""),
        (["cp", "a", ""], "source or node path", ""),
        (["get", ""], "node path", ""),
        (["get", "1:/x", ""], "directory", ""),
        (["get", "1:/"], "", ""),
        (["bundle", ""], "command", ""),
    ],
)
def test_a_value_is_completed_by_its_kind(words: Sequence[str], offer: str, prefix: str) -> None:
    answer = complete(words)
    assert (answer.offer, answer.prefix) == (offer, prefix)


def test_a_flag_is_offered_true_and_false_after_an_equals_sign() -> None:
    assert offered("s", "-p=t") == ["-p=true"]


WORDS = st.one_of(
    st.sampled_from([name for mode in MODES for name in mode.names()] + ["help", "--", "-", ".", ""]),
    st.sampled_from([name for switch in SWITCHES for name in switch.shown()]),
    st.text(max_size=6),
)


@given(st.lists(WORDS, max_size=8))
def test_any_line_has_an_answer_that_continues_its_last_word(words: list[str]) -> None:
    answer = complete(words)
    last = words[-1] if words else ""
    assert all(word.startswith(last) for word, _ in answer.candidates)
    assert last.startswith(answer.prefix)


def words_of(switch: Switch) -> list[str]:
    return [switch.shown()[0], "1"] if switch.kind.takes_value else [switch.shown()[0]]


@given(st.sampled_from(MODES), st.data())
def test_completion_and_parser_read_the_same_grammar(mode: Mode, data: st.DataObject) -> None:
    switches = data.draw(st.lists(st.sampled_from(switches_of(mode)), max_size=4))
    before = data.draw(st.integers(0, 4))
    given_words = [words_of(switch) for switch in switches]
    line = (
        [w for ws in given_words[:before] for w in ws] + [mode.letters] + [w for ws in given_words[before:] for w in ws]
    )
    answer = complete([*line, ""])
    stood_for = {switch.instead_of for switch in switches}
    arguments = [argument for argument in mode.arguments if argument.field not in stood_for]
    if arguments:
        assert answer.offer == (arguments[0].offers if mode.letters != "cp" else "file")
    else:
        assert {word for word, _ in answer.candidates} >= {name for s in switches_of(mode) for name in s.shown()}
        try:
            parse(line)
        except UsageError as refused:  # "1" is no absolute path
            assert "is not" in str(refused)


def node(*place: int) -> NodeState:
    return NodeState(place, NodeInfo(f"kn{place[-1]}", "", b"", "", 0.0), 0, None)


def test_nodes_are_offered_level_by_level_with_the_sets_above() -> None:
    nodes = [node(1), node(2), node(3), node(1, 1), node(1, 2), node(5)]
    assert [word for word, _ in node_candidates(nodes, "")] == [".", "1-3", "./.", "1", "1/.", "2", "3", "5"]
    assert [word for word, _ in node_candidates(nodes, "1/")] == ["1/.", "1/1-2", "1/1", "1/2"]
    assert [word for word, _ in node_candidates(nodes, "=1/")] == ["=1/.", "=1/1-2", "=1/1", "=1/2"]
    assert node_candidates(nodes, "2/") == []


def test_thousands_of_nodes_are_offered_as_sets() -> None:
    nodes = [node(number) for number in range(1, NODES_MAX + 100)]
    assert [word for word, _ in node_candidates(nodes, "")] == [".", f"1-{NODES_MAX + 99}"]


def asked(*words: str, **environ: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "gproc", "__complete", *words],
        capture_output=True, text=True, env={**os.environ, **environ}, timeout=PATIENCE_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return [line.partition("\t")[0] for line in done.stdout.splitlines()[1:]]


@pytest.mark.slow
def test_connected_nodes_are_offered_and_nothing_without_a_master(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    socket = str(cluster.socket)
    assert asked("e", "--socket", socket, "") == []
    cluster.start_master()
    try:
        cluster.slaves_at_once(2)
        offers([".", "1-2", "1", "2"], "e", "--socket", socket, "")
        offers(["1,2"], "e", "--socket", socket, "1,2")
        offers(["1-2:", "1:"], "cp", "a", "--socket", socket, "1")
        offers(["1,@failed:"], "get", "--socket", socket, "1,@f")
    finally:
        cluster.stop()


def offers(expected: list[str], *words: str) -> None:
    """Ask until this is offered: a shell waits half a second for the master, and a busy machine may need longer."""
    until_s = time.monotonic() + PATIENCE_S
    while (found := asked(*words)) != expected:
        assert time.monotonic() < until_s, found


@pytest.mark.slow
def test_jobs_are_offered_by_name_and_number_and_those_that_have_ended_if_they_are_of_use(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    here = f"--socket={cluster.socket}"
    assert asked("logs", here, "") == []
    cluster.start_master()
    try:
        cluster.slave(1)
        assert asked("logs", here, "") == []
        assert cluster.exec("--name=first", "1", "/bin/true").returncode == 0
        assert cluster.exec("-d", "--name=second", "1", "/bin/sleep", "1000").returncode == 0
        [second, first] = sorted(job["job"] for job in json.loads(cluster.command("ps", "-a", "--json").stdout))[::-1]
        for verb in ("logs", "rm"):
            offers(["last", "second", "first", str(second), str(first)], verb, here, "")
        for verb in ("attach", "wait", "kill"):
            offers(["last", "second", str(second)], verb, here, "")
        offers(["second"], "kill", here, "se")
        offers(["second"], "rm", here, "first", "s")
        offers([".", "1"], "kill", here, "second", "")
        assert cluster.command("kill", "-s", "KILL", "second").returncode == 0
        assert cluster.command("wait", "second").returncode == 137
    finally:
        cluster.stop()


def test_a_locale_is_offered_by_name() -> None:
    assert asked("m", "-locale", "k") == ["kane", "kf"]


def test_a_question_of_a_shell_imports_nothing_slow() -> None:
    program = """
import sys
from gproc.cli.main import main
main(["__complete", "e", "-"])
main(["__complete", "e", "--socket=/no/such/socket", ""])
slow = {"typer", "click", "rich", "asyncio", "ssl", "lief", "difflib", "argparse"}
print(sorted(slow & {name.partition(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


class Terminal:
    """A shell on a terminal of its own, to which a test types."""

    def __init__(self, argv: Sequence[str], environ: dict[str, str], cwd: Path) -> None:
        self.pid, self._terminal = pty.fork()
        if not self.pid:
            os.chdir(cwd)
            os.execvpe(argv[0], list(argv), environ)
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def shows(self, pattern: str) -> None:
        """Wait until it has shown that, escape sequences aside."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, re.sub(r"\x07|\x1b[\[\]?][0-9;?]*[a-zA-Z]?", "", self._seen))):
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline_s - time.monotonic()))
            assert ready, f"{pattern!r} is not in {self._seen!r}"
            self._seen += os.read(self._terminal, 4096).decode(errors="replace")
        assert found
        self._seen = ""

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)


@contextmanager
def shell(name: str, home: Path) -> Iterator[Terminal]:
    """A shell for which completion was installed, as a person starts it."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    home.mkdir()
    (home / "cluster.toml").touch()
    (home / ".bashrc").write_text("PS1='ready> '\n")
    environ = {
        "HOME": str(home), "ZDOTDIR": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb", "LANG": "C",
        "PROMPT": "ready> ", "GPROC_HOME": str(home / "gproc"),
    }  # fmt: skip
    done = subprocess.run(["gproc", "--install-completion", name], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    terminal = Terminal([name, "-i"], environ, home)
    try:
        yield terminal
    finally:
        terminal.end()


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_a_shell_completes_what_a_person_types(name: str, tmp_path: Path) -> None:
    with shell(name, tmp_path / "home") as terminal:
        terminal.shows("ready> ")
        terminal.type("gproc e -binR\t")
        terminal.shows("-binRoot ")
        terminal.type("/x . mktem\t")
        terminal.shows("mktemp ")
        terminal.type("\x15gproc -locale=ka\t")
        terminal.shows("-locale=kane ")
        terminal.type("\x15gproc bundle -f a,clus\t")
        terminal.shows("a,cluster.toml")
        terminal.type("\x15gproc e 1,@fai\t")
        terminal.shows("1,@failed")
        terminal.type("\x15gproc e . ls --bin-r\t--locale=ka\tX")
        terminal.shows("--bin-r--locale=kaX")


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_a_file_name_with_a_colon_was_completed_to_another_name(name: str, tmp_path: Path) -> None:
    """`cp a:` became `cp a:a:b` in bash, which takes : and = for ends of words."""
    with shell(name, tmp_path / "home") as terminal:
        (tmp_path / "home" / "a:b").touch()
        (tmp_path / "home" / "d=e").mkdir()
        terminal.shows("ready> ")
        terminal.type("gproc cp a:\t")
        terminal.shows("cp a:b ")
        terminal.type("\x15gproc e 1 cat a:\t")
        terminal.shows("cat a:b ")
        terminal.type("\x15gproc cp d=\tX")
        terminal.shows(r"cp d=e/(\x08/)?X")


def test_zsh_completes_at_once_with_the_file_of_an_installed_gproc(tmp_path: Path) -> None:
    """`pip install` puts the script below share/zsh/site-functions, which is in $fpath; no start-up file names it."""
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    functions = tmp_path / "site-functions"
    functions.mkdir()
    (functions / "_gproc").write_text(shell_named("zsh").script)
    (tmp_path / ".zshrc").write_text("fpath=(~/site-functions $fpath)\nautoload -Uz compinit && compinit -u -D\n")
    environ = {
        "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb",
        "LANG": "C", "PROMPT": "ready> ", "GPROC_HOME": str(tmp_path / "gproc"),
    }  # fmt: skip
    terminal = Terminal(["zsh", "-i"], environ, tmp_path)
    try:
        terminal.shows("ready> ")
        terminal.type("gproc e -binR\t")
        terminal.shows("-binRoot ")
        terminal.type("\x15gproc -locale=ka\t")
        terminal.shows("-locale=kane ")
    finally:
        terminal.end()


def test_fish_completes_what_a_person_types(tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    environ = {"HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}", "LANG": "C"}
    subprocess.run(["gproc", "--install-completion", "fish"], env=environ, check=True, capture_output=True)
    (tmp_path / "cluster.toml").touch()

    def completed(line: str) -> list[str]:
        done = subprocess.run(
            ["fish", "-c", f"complete -C '{line}'"],
            env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.stderr == ""
        return [each.partition("\t")[0] for each in done.stdout.splitlines()]

    assert completed("gproc e -binR") == ["-binRoot"]
    assert completed("gproc -locale=ka") == ["-locale=kane"]
    assert completed("gproc bundle -f a,clus") == ["a,cluster.toml"]
    assert completed("gproc e . ls --bin-r") == []
    assert "mktemp" in completed("gproc e . mktem")


def gproc(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gproc", *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, **environ},
    )  # fmt: skip


def test_installing_twice_changes_a_start_up_file_once(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("alias ll='ls -l'")
    for _ in range(2):
        assert gproc("--install-completion", "bash", HOME=str(tmp_path), XDG_DATA_HOME="").returncode == 0
    lines = (tmp_path / ".bashrc").read_text().splitlines()
    assert lines[0] == "alias ll='ls -l'"
    assert len(lines) == 2


def test_completion_is_not_installed_in_another_users_home(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can make a directory of another user")
    os.chown(tmp_path, 1234, 1234)
    done = gproc("--install-completion", "bash", HOME=str(tmp_path))
    assert (done.returncode, list(tmp_path.iterdir())) == (125, [])
    assert "without sudo" in done.stderr


def test_a_shell_that_gproc_does_not_know_is_refused() -> None:
    done = gproc("--show-completion", "ksh")
    assert (done.returncode, done.stderr) == (2, "gproc: no completion for 'ksh': bash, zsh or fish is wanted\n")
