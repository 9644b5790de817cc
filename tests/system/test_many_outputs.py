"""How `gproc e` shows the output of many nodes: together, in order, in files, as JSON."""

from __future__ import annotations

import base64
import json
import os
import pty
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster
from tests.system.flat import flat_tree


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master and nodes 1 to 6."""
    with flat_tree(tmp_path_factory.mktemp("six"), 6) as cluster:
        yield cluster


def shell(cluster: Cluster, *words: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    *switches, script = words
    return cluster.exec("-localbin", *switches, "./.", "/bin/sh", "-c", script, **options)


def test_nodes_with_the_same_output_are_shown_once_with_their_number(six: Cluster) -> None:
    done = shell(
        six, "-b", 'echo "to people" >&2; [ $GPROC_RANK = 2 ] && printf last || { echo a; echo b; }; exit $GPROC_RANK'
    )
    assert done.stdout == b"1-2,4-6 (5):\na\nb\n3:\nlast\n"
    assert sorted(done.stderr.splitlines())[:6] == [f"{number}: to people".encode() for number in range(1, 7)]
    assert done.returncode == 5


def test_standard_error_is_gathered_too_with_a_capital_b(six: Cluster) -> None:
    done = shell(six, "-B", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"1-6 (6):\nout\n", b"1-6 (6):\nerr\n")


def test_nodes_that_print_nothing_are_not_shown(six: Cluster) -> None:
    assert shell(six, "-b", "[ $GPROC_RANK != 0 ] || echo me").stdout == b"1:\nme\n"
    assert shell(six, "-b", "exit 0").stdout == b""


def test_output_that_is_no_text_is_shown_byte_for_byte(six: Cluster) -> None:
    assert shell(six, "-b", r"printf '\0\377\001x\n'").stdout == b"1-6 (6):\n\0\xff\x01x\n"


def test_a_group_is_shown_while_others_run_if_none_of_them_can_join_it(six: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"echo begun; [ $GPROC_RANK != 5 ] || {{ echo other; read line < {gate}; }}"
    process = six.begin("e", "-localbin", "-b", "--live", "./.", "/bin/sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.read(15) == b"1-5 (5):\nbegun\n"
    gate.write_text("go\n")
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert out.endswith(b"6:\nbegun\nother\n")


def test_the_others_are_shown_as_differences_from_the_largest_group(six: Cluster) -> None:
    done = shell(six, "-b", "--diff", "echo same; echo $((GPROC_RANK / 5)); echo end")
    assert done.stdout == b"1-5 (5):\nsame\n0\nend\n6 differs from 1-5:\n@@ -1,3 +1,3 @@\n same\n-0\n+1\n end\n"


def test_sorted_output_is_whole_and_in_the_order_of_the_nodes(six: Cluster) -> None:
    script = "echo a; sleep 0.$((6 - GPROC_RANK)); printf z"
    assert shell(six, "--sort", script).stdout == b"a\nz" * 6
    labelled = b"".join(b"%d: a\n%d: z\n" % (number, number) for number in range(1, 7))
    assert shell(six, "--sort", "-l", script).stdout == labelled


def test_each_node_has_files_of_its_own_and_old_content_is_gone(six: Cluster) -> None:
    there = six.work / "there"
    there.mkdir()
    (there / "3.err").write_text("of the last run")
    done = shell(six, "--outdir", "there", 'echo "I am $GPROC_RANK"; [ $GPROC_RANK != 5 ] || echo bad >&2')
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    texts = {path.name: path.read_text() for path in there.iterdir()}
    expected = {f"{rank + 1}.out": f"I am {rank}\n" for rank in range(6)}
    assert texts == {**expected, **{f"{rank + 1}.err": "bad\n" if rank == 5 else "" for rank in range(6)}}


def test_programs_get_a_line_of_json_for_each_event(six: Cluster) -> None:
    done = shell(six, "--json", r"[ $GPROC_RANK = 0 ] && printf '\377'; echo err >&2; exit $((GPROC_RANK % 2))")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0].items() >= {"event": "started", "version": 1, "nodes": list("123456"), "missing": ""}.items()
    outputs = [event for event in events if event["event"] == "output"]
    assert {event["node"]: event["data"] for event in outputs if event["stream"] == "stderr"} == dict.fromkeys(
        "123456", "err\n"
    )
    assert [base64.b64decode(event["base64"]) for event in outputs if event["stream"] == "stdout"] == [b"\xff"]
    ended = {
        event["node"]: (event["how"], event["status"], event["code"]) for event in events if event["event"] == "ended"
    }
    assert ended == {str(rank + 1): ("exited", rank % 2, rank % 2) for rank in range(6)}
    assert events[-1].items() >= {"event": "finished", "status": 1, "outcomes": {"exited": 6}}.items()
    assert done.returncode == 1


def test_json_says_in_words_how_a_program_ended_whose_time_was_up(six: Cluster) -> None:
    """It was `[2, 15, false]`: the numbers of the wire."""
    done = six.exec("--json", "--timeout=0.2", "1", "/bin/sleep", "60")
    ended = next(event for line in done.stdout.splitlines() if (event := json.loads(line))["event"] == "ended")
    del ended["seconds"]
    assert ended == {
        "event": "ended", "node": "1", "how": "timed out", "status": 124, "timeout_s": 0.2,
        "ending": {"how": "signalled", "signal": 15, "core_dumped": False},
    }  # fmt: skip


@pytest.mark.parametrize(
    "switches", [("-b", "--sort"), ("--json", "-b"), ("--outdir=x", "-l"), ("--live",), ("-b", "--live", "--diff")]
)
def test_switches_that_contradict_each_other_are_refused(six: Cluster, switches: tuple[str, ...]) -> None:
    done = six.exec(*switches, "./.", "true")
    assert done.returncode == 2
    assert b"do not go together" in done.stderr or b"add -b" in done.stderr


def test_a_directory_that_cannot_be_made_is_named(six: Cluster) -> None:
    (six.work / "file").touch()
    done = shell(six, "--outdir=file/x", "echo a")
    assert (done.returncode, done.stderr) == (125, b"gproc: --outdir file/x: Not a directory\n")


@pytest.mark.parametrize("reads", [False, True])
def test_a_fifo_among_the_files_of_a_directory_is_named(six: Cluster, reads: bool) -> None:
    """gproc waited in open(2) for a reader, and only kill -9 ended that."""
    place = six.work / f"with-fifo-{reads}"
    place.mkdir()
    os.mkfifo(place / "1.out")
    reader = os.open(place / "1.out", os.O_RDONLY | os.O_NONBLOCK) if reads else -1
    done = shell(six, f"--outdir={place}", "echo a")
    assert (done.returncode, done.stderr.decode()) == (
        125, f"gproc: cannot write {place}/1.out: it is no file, and one is wanted\n",
    )  # fmt: skip
    if reads:
        os.close(reader)


def test_much_output_of_many_nodes_does_not_fill_the_memory(six: Cluster) -> None:
    limit = 400 << 20
    process = six.begin(
        "e", "-localbin", "-b", "./.", "/bin/sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' $GPROC_RANK",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )  # fmt: skip
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, b"")
    assert len(out) == 6 * (20_000_000 + len("1:\n") + 1)


def test_a_person_is_told_once_of_b_if_all_nodes_print_the_same(six: Cluster) -> None:
    def on_a_terminal() -> bytes:
        ours, theirs = pty.openpty()
        done = shell(six, "echo same", stdout=theirs, env={"XDG_CACHE_HOME": str(six.work / "cache")})
        os.close(theirs)
        os.close(ours)
        return done.stderr

    assert on_a_terminal() == b"gproc: all 6 nodes printed the same: -b shows it once\n"
    assert on_a_terminal() == b""


def test_a_person_sees_which_nodes_still_run(six: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    ours, theirs = pty.openpty()
    script = f"case $GPROC_RANK in 3) read line < {gate};; 0) exit 1;; esac"
    process = six.begin("e", "-localbin", "./.", "/bin/sh", "-c", script, stderr=theirs, env={"TERM": "xterm"})
    os.close(theirs)
    shown = b""
    while b"5 of 6 done, 1 failed; still running: 4" not in shown:
        shown += os.read(ours, 4096)
    gate.write_text("go\n")
    assert process.wait(PATIENCE_S) == 1
    shown = b""
    while b"gproc: 1: exit status 1" not in shown:
        shown += os.read(ours, 4096)
    assert shown.rpartition(b"\x1b[K")[2] == b"gproc: 1: exit status 1\r\n"
    os.close(ours)


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_can_clear_no_line_is_sent_none_that_is_drawn_again(six: Cluster, term: str) -> None:
    """Emacs' shell-mode showed ^[[K after each."""
    ours, theirs = pty.openpty()
    process = six.begin("e", "-localbin", "1", "/bin/sleep", "3", stderr=theirs, stdout=theirs, env={"TERM": term})
    os.close(theirs)
    assert process.wait(PATIENCE_S) == 0
    with pytest.raises(OSError, match="Input/output error"):  # at the end, as nothing was written
        os.read(ours, 4096)
    os.close(ours)
