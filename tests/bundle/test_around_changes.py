"""What lies around a program changes between two commands: its output comes, and files come and go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bundle.conftest import Packs, made, sent


@pytest.mark.usefixtures("settled")
def test_a_file_that_comes_later_goes_along_and_the_output_does_not(
    packs: Packs, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gproc e ./. ./x.sh > out` sent what it was writing, and packed anew each time."""
    project = home / "project"
    made(project, {"x.sh": "", "one": ""})
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh", "one"}
    made(project, {"two": ""})
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh", "one", "two"}
    with open(project / "out", "w") as output:
        monkeypatch.setattr("gproc.descriptors.OUTPUTS", (output.fileno(), 10**6))
        assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh", "one", "two"}
        output.write("more")
        output.flush()
        assert not packs(project, "sh", "x.sh").reasons, "the cache has an answer"


@pytest.mark.usefixtures("settled")
def test_what_one_command_prints_to_a_file_goes_along_with_the_next(
    packs: Packs, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `gproc e . ./tool make > table`, `gproc e . ./tool show` did not find the table on the node."""
    project = home / "project"
    made(project, {"x.sh": ""})
    with open(project / "table", "w") as output, monkeypatch.context() as patched:
        patched.setattr("gproc.descriptors.OUTPUTS", (output.fileno(),))
        assert sent(packs(project, "sh", "x.sh", "make"), project) == {"x.sh"}
    assert sent(packs(project, "sh", "x.sh", "show"), project) == {"x.sh", "table"}


@pytest.mark.usefixtures("settled")
def test_a_loop_finds_its_data_when_its_outputs_have_become_many(
    packs: Packs, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`for i in ...; do gproc e . ./x.sh > out.$i; done` failed from the 300th output on: nothing went along then."""
    project = home / "project"
    made(project, {"x.sh": "", "data": "", **{f"out.{number}": "" for number in range(300)}})
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh"}
    for name, found in ("out.300", {"x.sh", "data"}), ("other", {"x.sh"}), ("out.301", {"x.sh", "data", "other"}):
        with open(project / name, "w") as output, monkeypatch.context() as patched:
            patched.setattr("gproc.descriptors.OUTPUTS", (output.fileno(),))
            assert sent(packs(project, "sh", "x.sh"), project) == found
    made(project, {f"in.{number}": "" for number in range(300)})
    with open(project / "out.302", "w") as output, monkeypatch.context() as patched:
        patched.setattr("gproc.descriptors.OUTPUTS", (output.fileno(),))
        assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh"}, "too many of another kind"


@pytest.mark.usefixtures("settled")
def test_a_directory_that_was_too_large_goes_along_when_it_is_no_more(packs: Packs, home: Path) -> None:
    """Whoever cleaned up after a command that had failed saw it fail again, by an answer of the cache."""
    project = home / "project"
    made(project, {"x.sh": "", "data": "", **{f"old{number}": "" for number in range(300)}})
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh"}
    made(project, {"old300": ""})
    assert not packs(project, "sh", "x.sh").reasons, "the cache has an answer: still too many"
    for number in range(301):
        (project / f"old{number}").unlink()
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh", "data"}
    os.truncate(project / "data", (20 << 20) + 1)
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh"}
    os.truncate(project / "data", 30 << 20)
    assert not packs(project, "sh", "x.sh").reasons, "the cache has an answer: still too large"
    os.truncate(project / "data", 1)
    assert sent(packs(project, "sh", "x.sh"), project) == {"x.sh", "data"}
