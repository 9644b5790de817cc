"""scripts/copytonodes.sh: its arguments and settings.  tests/start/test_copytonodes.py has real nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "copytonodes.sh"

CERT = """#!/bin/sh
[ "$1 $2" = "cert --out" ] || exit 2
out=$3
shift 3
for name; do
    mkdir -p "$out/$name"
done
"""


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """With a runtime that is there already, and a `gproc cert` that makes nothing of worth."""
    (tmp_path / "bin").mkdir()
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    for name in ("machine", "place", "command", "ask", "helper", "send"):
        (runtime / name).write_text(name)
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "GPROC": str(script(tmp_path / "bin" / "gproc-cert", CERT)),
        "GPROC_RUNTIME": str(runtime),
    }


def copy(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", SCRIPT, *arguments], env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_nodes_are_served_in_parallel_but_no_more_than_allowed(environ: dict[str, str], tmp_path: Path) -> None:
    # Each ssh waits for a second one, so one at a time would never end, and counts how many run.
    program = f"""#!{sys.executable}
import os, sys
here = {str(tmp_path)!r}
mark = os.path.join(here, "running", str(os.getpid()))
open(mark, "w").close()
while len(os.listdir(os.path.join(here, "running"))) < 2 and not os.path.exists(here + "/met"):
    pass
open(here + "/met", "w").close()
with open(here + "/counts", "a") as counts:
    print(len(os.listdir(os.path.join(here, "running"))), file=counts)
os.unlink(mark)
sys.exit(1)
"""
    (tmp_path / "running").mkdir()
    script(tmp_path / "bin" / "ssh", program)
    assert copy({**environ, "GPROC_PARALLEL": "2"}, "1", "6").returncode == 1
    counts = [int(line) for line in (tmp_path / "counts").read_text().splitlines()]
    assert len(counts) == 6
    assert max(counts) == 2


def test_names_come_from_the_pattern_and_user_and_options_from_the_environment(
    environ: dict[str, str], tmp_path: Path
) -> None:
    script(tmp_path / "bin" / "ssh", f'#!/bin/sh\necho "$1 $2 $9" >>{tmp_path}/calls\n')
    environ |= {"GPROC_USER": "ops", "GPROC_SSH_OPTIONS": "-o Port=2222"}
    copy({**environ, "GPROC_PATTERN": "node%02d.lab"}, "9", "10")
    copy({**environ, "GPROC_PREFIX": "rack-"}, "3", "3")
    assert sorted((tmp_path / "calls").read_text().splitlines()) == [
        "-o Port=2222 ops@node09.lab", "-o Port=2222 ops@node10.lab", "-o Port=2222 ops@rack-3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [(), ("1",), ("1", "2", "3"), ("a", "2"), ("0", "2"), ("1", "-2"), ("1", ""), ("-h",)]
)
def test_wrong_arguments_get_the_usage_and_status_2(environ: dict[str, str], arguments: tuple[str, ...]) -> None:
    done = copy(environ, *arguments)
    assert done.returncode == 2
    assert "Usage: sh scripts/copytonodes.sh FIRST LAST" in done.stderr
    assert "GPROC_PATTERN" in done.stderr


@pytest.mark.parametrize(
    ("variables", "arguments", "message"),
    [
        ({}, ("5", "1"), "the first node, 5, is above the last, 1"),
        ({}, ("1", "999999999"), "1 to 999999999 are 999999999 nodes, more than 20000: name fewer at once"),
        ({"GPROC_PARALLEL": "many"}, ("1", "2"), "GPROC_PARALLEL is 'many'"),
        ({"GPROC_DEST": "it's"}, ("1", "2"), "GPROC_DEST"),
        *(
            ({"GPROC_PATTERN": pattern}, ("1", "2"), f"GPROC_PATTERN is '{pattern}'")
            for pattern in ("kn", "kn%s", "kn%d%d", "kn%100d", "k n%d", "-o%d", "kn%d;id", "kn%%d")
        ),
    ],
)
def test_wrong_settings_are_named_and_get_status_2(
    environ: dict[str, str], variables: dict[str, str], arguments: tuple[str, ...], message: str
) -> None:
    done = copy({**environ, **variables}, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(("without", "message"), [("GPROC_RUNTIME", "the runtime could not be made"), ("", "cert")])
def test_nothing_is_copied_when_runtime_or_certificates_cannot_be_made(
    environ: dict[str, str], tmp_path: Path, without: str, message: str
) -> None:
    environ.pop(without, None)
    script(tmp_path / "bin" / "ssh", f"#!/bin/sh\necho called >{tmp_path}/called\n")
    done = copy({**environ, "GPROC": "false"}, "1", "2")
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "called").exists()


def test_nothing_is_left_on_the_front_end(environ: dict[str, str], tmp_path: Path) -> None:
    script(tmp_path / "bin" / "ssh", "#!/bin/sh\nexit 1\n")
    before = sorted(os.listdir(tmp_path))
    copy(environ, "1", "2")
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("exit 3", "its login shell ended without a word, with status 3"),
        ("echo get lost >&2; exit 3", "get lost"),
        # As by `timeout`, after half a minute.
        ("exit 124", "no answer within 30 s from its login shell"),
        ("echo gproc-start hello x 0; echo gproc-start failed no /proc; exit 1", "no /proc"),
        ("echo gproc-start hello x 0; echo gproc-start failed 28 cannot write", "cannot write"),
    ],
)
def test_a_node_that_does_not_answer_as_it_should_is_told(
    environ: dict[str, str], tmp_path: Path, said: str, reason: str
) -> None:
    (tmp_path / "runtime" / "machine").write_text("x")
    script(tmp_path / "bin" / "ssh", f"#!/bin/sh\n{said}\n")
    assert copy(environ, "1", "1").stderr.splitlines()[0] == f"copytonodes: kn1: {reason}"
