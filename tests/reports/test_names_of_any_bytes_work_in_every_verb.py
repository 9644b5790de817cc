"""Names with a leading dash, blanks, newlines, colons or bytes that are not UTF-8, in the verbs that do not copy.

`test_names_of_any_bytes_are_copied.py` has `cp` and `get`.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from gproc.cli.modes import MODES
from tests.system.as_user import gproc_as
from tests.system.cluster import Cluster, Slave

NAMES = {
    "a leading dash": b"-rf",
    "a newline": b"line\nbreak",
    "a colon": b"1:co:lon",
    "no UTF-8": b"\xff\xfe\x80",
    "two leading dashes": b"--help",
    "blanks": b" two  blanks ",
    "an equals sign": b"a=b",
    "UTF-8": "größe".encode(),
    "a terminal's codes": b"\x1b[2J\x07",
}
IN_EVERY_RUN = 4
"""The first ones; `make stress` has all."""


@pytest.fixture(params=[
    pytest.param(name, marks=[pytest.mark.stress] if number >= IN_EVERY_RUN else [])
    for number, name in enumerate(NAMES)
])  # fmt: skip
def name(request: pytest.FixtureRequest) -> str:
    return os.fsdecode(NAMES[request.param])


@pytest.fixture
def here(tree: Cluster, name: str) -> Path:
    """A directory of this name in the working directory, others may look in."""
    place = tree.work / name
    place.mkdir(exist_ok=True)
    return place


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def alone(home: Path, *words: str | bytes, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "GPROC_HOME": str(home / "keys"), "XDG_CACHE_HOME": str(home / "cache"), "LC_ALL": "C.UTF-8"}
    return subprocess.run([*gproc_as(None), *words], env=env, cwd=cwd or home, capture_output=True)


def test_e_runs_a_program_of_this_name_with_files_arguments_and_a_directory_of_it(
    tree: Cluster, name: str, here: Path
) -> None:
    script(here / name, 'printf "%s\\n" "$1" "$V" "$(pwd)"; cat "$2"')
    (here / "data").write_text("data\n")
    words = ("-n", "-f", str(here / "data"), "--env", f"V={name}", "1", f"./{name}", name, str(here / "data"))
    done = tree.exec(*words, cwd=here)
    assert (done.returncode, done.stderr) == (0, b"")
    told = os.fsencode(name)
    # The working directory is at its own path; on a node without private views, below binRoot.
    places = [os.fsencode(path) for path in (str(here), f"{tree.slaves[0].bin_root}{here}")]
    assert done.stdout in [told + b"\n" + told + b"\n" + place + b"\ndata\n" for place in places]


def test_e_finds_a_program_of_this_name_in_path_after_two_dashes(tree: Cluster, name: str, here: Path) -> None:
    place = here.parent / "bin"  # a directory in PATH has no colon
    place.mkdir(exist_ok=True)
    script(place / name, "echo found")
    done = tree.exec("-n", "--", "1", name, env={"PATH": f"{place}:/usr/bin:/bin"})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"found\n", b"")


def test_bundle_packs_a_program_of_this_name_and_writes_a_tar_file_of_it(tmp_path: Path, name: str) -> None:
    script(tmp_path / name, "echo")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).write_text("x")
    done = alone(tmp_path, "bundle", "--json", "-f", f"d/{name}", "--", f"./{name}")
    assert done.returncode == 0, done.stderr
    paths = {line["path"] for line in json.loads(done.stdout)["files"]}
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    assert {f"{tmp_path}/{shown}", f"{tmp_path}/d/{shown}"} <= paths
    done = alone(tmp_path, "bundle", "--tar", f"{name}.tar", "--", f"./{name}")
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    with tarfile.open(tmp_path / f"{name}.tar", errors="surrogateescape") as archive:
        assert f"{tmp_path}/{name}".lstrip("/") in archive.getnames()


def test_cert_writes_below_a_directory_of_this_name(tmp_path: Path, name: str) -> None:
    done = alone(tmp_path, "cert", f"--out={name}", "--", "kn1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == os.fsencode(f"{name}/kn1\n")
    assert (tmp_path / name / "kn1" / "node.crt").exists()


def test_keys_and_defaults_are_found_in_a_directory_of_this_name(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text("[e]\nlabel = true\n")
    (home / "config.toml").chmod(0o600)
    env = {**os.environ, "GPROC_HOME": str(home), "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*gproc_as(None), "config"], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"--label\te\ttrue\t" in done.stdout
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize("name", ["a leading dash", "a newline", "a colon", "no UTF-8"], indirect=True)
def test_master_slave_and_commands_meet_at_a_socket_of_this_name_with_stores_of_it(tmp_path: Path, name: str) -> None:
    cluster = Cluster(tmp_path / "c")
    place = tmp_path / name
    place.mkdir()
    cluster.socket = place / name
    cluster.start_master(f"--store={place}/m", "--")
    own = (f"--parent=127.0.0.1:{cluster.port}", "--id=1", "-cmdport=0", f"--store={place}/s", f"-binRoot={place}/x")
    cluster.slaves.append(slave := Slave([*gproc_as(None), "s", *own, "--"], cluster.env, cluster.work))
    slave.bin_root = place / "x"
    slave.says("this is node 1")
    program = cluster.write_program("rooted", 'echo "$GPROC_ROOT"')
    done = cluster.exec("1", program)
    assert (done.returncode, done.stdout) == (0, os.fsencode(f"{place}/x\n")), done.stderr
    assert cluster.command("i", "--").returncode == 0
    kept = subprocess.run(
        [*gproc_as(None), "store", "--json", f"--store={place}/s", "--"], env=cluster.env, capture_output=True
    )
    assert [bundle["program"] for bundle in json.loads(kept.stdout)] == [program]
    cluster.stop()


def test_two_dashes_end_the_switches_of_every_verb() -> None:
    from gproc.cli.parse import parse

    for mode in MODES:
        words = ["x"] * len(mode.arguments) if mode.letters != "e" else [".", "x"]
        assert parse([mode.letters, "--", *words]) == parse([mode.letters, *words])
        assert parse(["--", mode.letters, *words]) == parse([mode.letters, *words])
