"""From the command line to an exit status: `gproc.cli.main`, as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

WITH_A_VERB_THAT = """
import os, signal, sys, types
from gproc.errors import LinkLost, ProgramNotFound

def run(options):
    {body}

verb = types.ModuleType("gproc.cli.info")
verb.run = run
sys.modules["gproc.cli.info"] = verb
from gproc.cli.main import main
sys.exit(main())
"""


def gproc(*argv: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gproc", *argv],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "80", **(environ or {})},
    )


def info_that(body: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """`gproc i`, with a verb that does what body says."""
    program = WITH_A_VERB_THAT.format(body=body)
    return subprocess.run([sys.executable, "-c", program, "i", *argv], capture_output=True, text=True)


def test_the_verbs_status_is_the_exit_status() -> None:
    done = info_that("print(options.debug); return 7", "-debug=3")
    assert (done.returncode, done.stdout, done.stderr) == (7, "3\n", "")


def test_a_wrong_command_line_ends_with_status_2_and_one_message() -> None:
    done = gproc("-cmdport=x", "m")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "gproc: -cmdport: 'x' is not a whole number from 0 to 65535\n"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("raise LinkLost('the master is gone')", 125, "gproc: the master is gone\n"),
        ("raise ProgramNotFound('dat: not found')", 127, "gproc: dat: not found\n"),
        ("open('/no/such/file')", 125, "gproc: /no/such/file: No such file or directory\n"),
        ("raise KeyboardInterrupt", 130, ""),
        ("raise BrokenPipeError(32, 'Broken pipe')", 125, "gproc: Broken pipe\n"),
    ],
)
def test_an_expected_error_is_one_sentence_and_its_own_status(body: str, status: int, message: str) -> None:
    done = info_that(body)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", message)


def test_an_error_shows_where_it_was_raised_from_debug_level_5_on() -> None:
    assert "Traceback" not in info_that("raise LinkLost('gone')", "-debug=4").stderr
    told = info_that("raise LinkLost('gone')", "-debug=5").stderr
    assert told.startswith("Traceback")
    assert told.endswith("gproc: gone\n")


def test_a_bug_ends_with_gprocs_own_status_and_its_traceback() -> None:
    done = info_that("return 1 // 0")
    assert done.returncode == 125
    assert "ZeroDivisionError" in done.stderr
    assert "bug" in done.stderr


@pytest.mark.parametrize("amount", [1, 100_000])
def test_a_reader_that_goes_away_ends_the_command_quietly(amount: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = WITH_A_VERB_THAT.format(body=f"print('line\\n' * {amount}); return 0")
    try:
        done = subprocess.run([sys.executable, "-c", program, "i"], stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_closed_stdout_is_no_reason_to_fail() -> None:
    program = WITH_A_VERB_THAT.format(body="return 0")
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" i >&-', sys.executable, program], stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_while_modules_are_imported_ends_quietly_with_status_130() -> None:
    program = """
import sys

class Interrupted:
    def find_spec(self, name, path, target=None):
        if name == "gproc.cli.main":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from gproc.__main__ import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", program, "i"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_version_is_printed() -> None:
    from gproc import __version__

    assert gproc("--version").stdout == f"gproc {__version__}\n"


def test_the_parser_needs_neither_typer_nor_any_other_slow_module() -> None:
    slow = ["typer", "rich", "argparse", "asyncio", "ssl", "lief", "cryptography", "dataclasses", "difflib"]
    program = f"""
import msgspec, sys
before = set(sys.modules)
from gproc.cli.main import main
from gproc.cli.parse import parse
parse(["-debug=3", "e", "./.", "/bin/date"])
print(sorted((set(sys.modules) - before) & {set(slow)}))
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


@pytest.mark.parametrize(
    "line",
    ["help e", "config", "config --json", "store", "bundle date", "bundle --json date",
     "--show-completion zsh", "__complete e -"],
)  # fmt: skip
def test_every_command_whose_reader_is_gone_ends_with_141(line: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([sys.executable, "-m", "gproc", *line.split()], stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
