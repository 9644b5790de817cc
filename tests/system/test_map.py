"""`gproc map`: a program runs once for each line of a list, on a node that is free, and each task runs like a job."""

from __future__ import annotations

import os
import time

import pytest

from tests.patience import PATIENCE_S
from tests.system.cluster import Cluster
from tests.system.lists import Gate, give, numbers


@pytest.mark.stress
def test_tasks_run_on_all_levels_of_a_tree(deep: Cluster) -> None:
    done = deep.command("map", "-k", "-j=2", "./././.", "/bin/sh", "-c", "echo $0 $GPROC_NODE", "{}", input=numbers(60))
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [int(line[0]) for line in lines] == list(range(1, 61))
    assert {line[1] for line in lines} <= {b"1", b"2", b"1/1", b"1/2", b"2/1", b"1/1/5"}
    deep.nothing_runs()


def test_each_line_runs_once_and_output_is_in_the_order_of_the_list(flat: Cluster) -> None:
    done = flat.command("map", "-k", "-j=2", "1-3", "/bin/sh", "-c", "echo $0 $GPROC_NODE", "{}", input=numbers(40))
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [int(line[0]) for line in lines] == list(range(1, 41))
    assert {line[1] for line in lines} <= {b"1", b"2", b"3"}


def test_a_line_is_behind_the_command_or_where_the_strings_of_gnu_parallel_are(flat: Cluster) -> None:
    done = flat.command("map", "-k", "1-3", "echo", "got", input=b"a b\n*\n")
    assert done.stdout == b"got a b\ngot *\n"
    words = ("{}", "{.}", "{/}", "{//}", "{/.}", "{#}", "{%}", "x{}y")
    done = flat.command("map", "-j=1", "1", "echo", *words, input=b"d/a.c\n")
    assert done.stdout == b"d/a.c d/a a.c d a 1 1 xd/a.cy\n"
    body = 'echo "$GPROC_TASK $GPROC_SLOT $GPROC_NODE"; # '
    assert flat.command("map", "-j=1", "=2", "sh", "-c", f"{body}{{}}", input=b"a\n").stdout == b"1 1 2\n"


def test_with_shell_each_value_is_one_word_of_the_line(flat: Cluster) -> None:
    awkward = b"it's $HOME; echo `date`\n"
    done = flat.command("map", "--shell", "1", "printf '<%s>' {} | tr a-z A-Z", input=awkward)
    assert (done.stdout, done.stderr) == (b"<" + awkward[:-1].upper() + b">", b"")
    assert flat.command("map", "--shell", "1", "echo here:", input=b"a  b\n").stdout == b"here: a  b\n"


def test_the_list_can_be_a_file_or_words(flat: Cluster) -> None:
    (flat.work / "list").write_bytes(b"one\0two\nlines\0")
    done = flat.command("map", "-0", "-k", "-a", "list", "1", "echo")
    assert done.stdout == b"one\ntwo\nlines\n"
    assert flat.command("map", "-k", "1", "echo", ":::", "x", "y z").stdout == b"x\ny z\n"
    assert flat.command("map", "-k", "-a", "-", "1", "echo", input=b"x\ny\n").stdout == b"x\ny\n"


def test_a_task_has_a_root_of_its_own_and_nothing_of_it_stays(flat: Cluster) -> None:
    body = "ls; touch mine.$1; (sleep 1000 &) ; ls $GPROC_ROOT | wc -l"
    done = flat.command("map", "-j=1", "1", "/bin/sh", "-c", body, "x", "{}", input=numbers(5))
    assert b"mine" not in done.stdout
    assert done.returncode == 0
    assert done.stderr.startswith(b"gproc: files that tasks wrote in their working directories are gone")
    flat.nothing_runs(PATIENCE_S)


def test_the_status_is_the_number_of_failed_tasks_and_stderr_names_their_lines(flat: Cluster) -> None:
    body = "case $1 in 2|3|4) exit 7;; 9) kill -9 $$;; esac"
    done = flat.command("map", "1-3", "/bin/sh", "-c", body, "x", "{}", input=numbers(10))
    told = done.stderr.decode().splitlines()
    assert sorted(told) == ["gproc: line 9: killed by SIGKILL", "gproc: lines 2-4: exit status 7"]
    assert done.returncode == 4
    assert flat.command("wait", "last").returncode in range(2, 5), "of the node with most of them"
    assert flat.command("map", "2", "/bin/false", input=numbers(3)).returncode == 3
    assert flat.command("wait", "last").returncode == 3
    assert flat.exec("-localbin", "@failed", "/bin/sh", "-c", "echo $GPROC_NODE").stdout == b"2\n"
    done = flat.command("map", "1-3", "/bin/false", input=numbers(102))
    assert done.returncode == 101


def test_a_program_that_no_node_has_is_said_once_and_ends_it(flat: Cluster) -> None:
    done = flat.command("map", "-localbin", "1-3", "nonesuch", input=numbers(500))
    assert done.returncode == 127
    first, second = done.stderr.decode().splitlines()
    assert first.startswith("gproc: 1-3: ") and "nonesuch" in first
    assert second == "gproc: the list was not run from line 1 on: no node can run it"
    assert flat.command("map", "1-3", "nonesuch", input=numbers(500)).returncode == 127
    assert flat.command("map", "-localbin", "1-3", "/etc/passwd", input=numbers(5)).returncode == 126


@pytest.mark.stress
def test_a_task_goes_to_another_node_if_its_own_cannot_begin_it(cluster: Cluster) -> None:
    cluster.slave(1, "--no-private")
    cluster.slave(2)
    program = ("/bin/sh", "-c", "echo $1 $GPROC_NODE", "x", "{}")
    done = cluster.command("map", "-k", "-j=2", "-binRoot=/tmp/elsewhere", "1-2", *program, input=numbers(9))
    assert done.stdout == b"".join(b"%d 2\n" % number for number in range(1, 10))
    assert done.returncode == 125
    assert done.stderr.startswith(b"gproc: 1: binRoot /tmp/elsewhere: this node has no private views")


@pytest.mark.parametrize(
    ("words", "sent", "status", "told"),
    [
        ((), b"", 0, "the list is empty: nothing was run"),
        ((), b"\n\n", 0, "the list is empty: nothing was run; 2 empty lines were left out"),
        ((), b"a\n\nb", 0, "1 empty line was left out"),
        ((), b"a\nb\0c\n", 125, "line 2 of the list has a zero byte, which no argument can have"),
        ((), b"a\n" + b"b" * 200_000 + b"\n", 125, "line 2 of the list is longer than 131071 bytes"),
        ((":::", "a", ":::", "b"), b"", 2, "a list is the words behind one `:::`"),
        (("-a", "none"), b"", 2, "COMMAND"),
    ],
)
def test_a_list_that_cannot_be_is_said_in_one_line(
    flat: Cluster, words: tuple[str, ...], sent: bytes, status: int, told: str
) -> None:
    if words == ("-a", "none"):
        done = flat.command("map", "-a", "none", "1", "echo")
        assert (done.returncode, done.stderr) == (125, b"gproc: none: No such file or directory\n")
        return
    done = flat.command("map", "1", "echo", *words, input=sent)
    assert done.returncode == status
    assert told in done.stderr.decode()


def test_without_a_list_it_says_what_a_list_is(flat: Cluster) -> None:
    with open(os.devnull) as nothing:
        process = flat.begin("map", "1", "echo", stdin=nothing.fileno())
    assert flat.finish(process)[0] == 0
    ours, theirs = os.openpty()
    try:
        status, _, told = flat.finish(flat.begin("map", "1", "echo", stdin=theirs))
    finally:
        os.close(ours)
        os.close(theirs)
    assert (status, told) == (
        2, "gproc: the list is missing: give it as standard input, by -a FILE, or as words behind `:::`\n",
    )  # fmt: skip
    assert b"COMMAND is missing" in flat.command("map", "1", ":::", "a").stderr
    refused = flat.command("map", "1", "{}", "x", input=b"a\n")
    assert (refused.returncode, b"cannot be sent: add -localbin" in refused.stderr) == (2, True)
    assert flat.command("map", "-localbin", "1", "{}", "here", input=b"echo\n").stdout == b"here\n"


def test_each_tasks_output_is_one_block_and_tags_and_mixing_are_as_asked(flat: Cluster) -> None:
    body = "echo a$1; sleep 0.1; echo b$1; echo e$1 >&2"
    program = ("/bin/sh", "-c", body, "x", "{}")
    done = flat.command("map", "-j=3", "1", *program, input=numbers(6))
    blocks = [done.stdout.splitlines()[at : at + 2] for at in range(0, 12, 2)]
    assert sorted(blocks) == [[b"a%d" % number, b"b%d" % number] for number in range(1, 7)]
    assert sorted(done.stderr.split()) == [b"e%d" % number for number in range(1, 7)]
    tagged = flat.command("map", "-k", "--tag", "1-3", "/bin/sh", "-c", "echo p; echo q", input=b"l 1\nl 2\n").stdout
    assert tagged == b"l 1\tp\nl 1\tq\nl 2\tp\nl 2\tq\n"
    assert b"does not go with it" in flat.command("map", "-u", "--tag", "1", "echo", input=b"a\n").stderr


def test_ungrouped_output_comes_while_its_task_runs(flat: Cluster) -> None:
    gate = Gate(flat.place, "ungrouped")
    body = f"echo early; {gate.program[2]}"
    process = flat.begin("map", "-u", "1", "/bin/sh", "-c", body, "x", "{}", stdin=-1)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"1\n")
    process.stdin.close()
    assert process.stdout.readline() == b"early\n"
    gate.let_go("1")
    assert process.stdout.read() == b"1 on 1\n"
    assert process.wait(PATIENCE_S) == 0
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()


def test_lines_are_handed_out_as_they_come(flat: Cluster) -> None:
    process = flat.begin("map", "1-3", "echo", "got", stdin=-1)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    for line in (b"a\n", b"b\n", b"c\n"):
        process.stdin.write(line)
        process.stdin.flush()
        assert process.stdout.readline() == b"got " + line
    process.stdin.close()
    assert process.wait(PATIENCE_S) == 0
    process.stdout.close()
    process.stderr.close()


def test_so_many_tasks_run_on_a_node_at_a_time_and_a_free_node_takes_the_next(flat: Cluster) -> None:
    gate = Gate(flat.place, "slots")
    process = flat.begin("map", "-j=2", "1-2", *gate.program, stdin=-1)
    give(process, numbers(6), ends=False)
    first = gate.runs(4)
    assert first == {"1", "2", "3", "4"}
    gate.let_go("2")
    until_s = time.monotonic() + PATIENCE_S
    while gate.running() != {"1", "3", "4", "5"}:
        assert time.monotonic() < until_s, gate.running()
        time.sleep(0.02)
    gate.let_go(*map(str, range(1, 7)))
    status, stdout, stderr = flat.finish(process)
    assert (status, stderr) == (0, "")
    assert sorted(line.split()[0] for line in stdout.splitlines()) == list("123456")


def test_a_task_that_takes_too_long_is_ended_and_the_others_go_on(flat: Cluster) -> None:
    body = "[ $1 = 2 ] && exec sleep 1000; echo $1"
    done = flat.command("map", "-k", "--timeout=3", "1", "/bin/sh", "-c", body, "x", "{}", input=numbers(3))
    assert (done.returncode, done.stdout) == (1, b"1\n3\n")
    assert done.stderr == b"gproc: line 2: timed out after 3 s\n"


def test_after_so_many_failures_no_more_tasks_begin(flat: Cluster) -> None:
    program = ("/bin/sh", "-c", "echo $1; false", "x", "{}")
    done = flat.command("map", "-j=1", "--max-fail=2", "1", *program, input=numbers(99))
    assert done.returncode >= 2
    assert len(done.stdout.splitlines()) == done.returncode < 99
    assert "tasks have failed" in done.stderr.decode().splitlines()[-1]


def test_the_joblog_has_a_line_for_each_task_as_gnu_parallel_writes_it(flat: Cluster) -> None:
    body = "echo four; exit $1"
    done = flat.command("map", "--joblog=log", "1-2", "/bin/sh", "-c", body, "x", "{}", input=b"0\n3\n")
    assert done.returncode == 1
    head, *lines = (flat.work / "log").read_text().splitlines()
    assert head == "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"
    cells = {line.split("\t")[0]: line.split("\t") for line in lines}
    assert [cells[number][5:] for number in "12"] == [
        ["5", "0", "0", f"/bin/sh -c {body} x 0"],
        ["5", "3", "0", f"/bin/sh -c {body} x 3"],
    ]
    assert {cells[number][1] for number in "12"} <= {"1", "2"}
    assert all(float(cells[number][2]) > 1e9 and float(cells[number][3]) >= 0 for number in "12")


def test_the_joblog_at_a_dash_is_standard_output(flat: Cluster) -> None:
    """As of GNU's programs.  It became a file of that name."""
    done = flat.command("map", "--joblog=-", "1", "/bin/echo", input=b"0\n")
    head, *lines = done.stdout.decode().splitlines()
    assert (done.returncode, head.split("\t")[0]) == (0, "Seq")
    assert [line.split("\t")[0] for line in sorted(lines)] == ["0", "1"]
    assert not (flat.work / "-").exists()


def test_a_joblog_that_has_no_room_is_named(flat: Cluster) -> None:
    done = flat.command("map", "--joblog=/dev/full", "1", "/bin/true", input=b"0\n")
    assert done.stderr == b"gproc: --joblog /dev/full: No space left on device\n"


@pytest.mark.stress
def test_a_terminal_sees_how_many_tasks_are_done(flat: Cluster) -> None:
    gate = Gate(flat.place, "watched")
    ours, theirs = os.openpty()
    process = flat.begin("map", "-j=1", "1", *gate.program, stdin=-1, stderr=theirs, env={"TERM": "xterm"})
    os.close(theirs)
    assert process.stdout is not None
    give(process, numbers(2))
    gate.let_go("1")
    assert process.stdout.readline() == b"1 on 1\n"
    seen = b""
    while b"1 task done, 1 on nodes" not in seen:
        seen += os.read(ours, 4096)
    gate.let_go("2")
    assert process.wait(PATIENCE_S) == 0
    process.stdout.close()
    os.close(ours)


def test_tasks_are_one_job_whose_output_only_its_own_command_shows(flat: Cluster) -> None:
    gate = Gate(flat.place, "one")
    process = flat.begin("map", "-j=1", "1-3", *gate.program, stdin=-1)
    give(process, numbers(9))
    gate.runs(3)
    (line,) = flat.command("ps").stdout.decode().splitlines()[1:]
    assert "1-3" in line
    refused = flat.command("attach", "last")
    assert (refused.returncode, b"gproc map alone shows what they write" in refused.stderr) == (125, True)
    assert flat.command("kill", "last").returncode == 0
    status, _, stderr = flat.finish(process)
    assert status == 143
    assert "killed by SIGTERM" in stderr


def test_switches_about_the_program_mean_what_they_mean_for_one_job(flat: Cluster) -> None:
    (flat.work / "extra").write_text("extra")
    own = ("-x", "3", "--require=all", "-f", "extra", "--env=A=1", "--clean-env", "--nice=3", "--cpus=1")
    body = "cat extra; echo $A$HOME `nice` `nproc` $GPROC_NODE"
    done = flat.command("map", *own, "=1,3", "/bin/sh", "-c", body, "x", "{}", input=b"1\n2\n")
    assert (done.stdout, done.stderr) == (b"extra1 %d 1 1\n" % (os.nice(0) + 3) * 2, b"")
    places = ("--cwd=/usr", "-binRoot=/tmp/elsewhere")
    done = flat.command("map", *places, "1", "/bin/sh", "-c", "pwd; echo $GPROC_ROOT; # {}", input=b"1\n")
    assert done.stdout == b"/usr\n/tmp/elsewhere\n"
    done = flat.command("map", "--max-procs=2", "1", "/bin/sh", "-c", "sleep 1 & sleep 1 & sleep 1; #", input=b"1\n")
    assert done.returncode == 1
    bound = "python3 -c 'bytearray(1 << 30)'; #"
    assert flat.command("map", "--mem=64M", "1", "/bin/sh", "-c", bound, input=b"1\n").returncode in (0, 1)
    assert flat.command("map", "--require=all", "1-4", "true", input=b"1\n").returncode == 125


def test_switches_about_what_is_sent_pack_what_they_do_for_one_job(flat: Cluster) -> None:
    (flat.work / "named").write_text("it goes along if words count")

    def packed(mode: str, *switches: str) -> str:
        done = flat.command(mode, "--debug=1", *switches, "1", "/usr/bin/env", "cat", "named", input=b"named\n")
        return next(line for line in done.stderr.decode().splitlines() if "packed " in line).partition("packed ")[2]

    own = ("-r", "/", "-L", "/usr/lib", "--no-words", "--no-trace", "--with-package")
    assert packed("map", *own) == packed("e", *own) != packed("map")
