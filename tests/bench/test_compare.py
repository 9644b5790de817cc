"""Two revisions measured in turns: which code runs on which side, in which order, and what is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from bench import processes, spawncost
from bench.checkout import OWN, Checkout, CheckoutFailed, check, pair
from bench.compare import Comparison, in_turns, lines, paired
from bench.figures import QUICK, Settings
from bench.ratio import compared
from bench.tree import TreeFailed
from bench.trial import Reading, Step, Trial

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def in_git() -> None:
    done = subprocess.run(["git", "-C", CHECKOUT, "rev-parse", "HEAD"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"{CHECKOUT} is no git checkout: {done.stderr.decode()}")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench", *arguments]


def environ(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT)}


@pytest.mark.stress
@pytest.mark.usefixtures("in_git")
def test_a_commit_is_compared_with_itself_in_every_measurement(tmp_path: Path) -> None:
    file = tmp_path / "comparison.json"
    done = subprocess.run(
        command("--quick", "--compare", "HEAD", "--json", str(file)), env=environ(tmp_path), cwd="/",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.decode()
    found = msgspec.json.decode(file.read_bytes(), type=Comparison)
    assert not found.failed
    # If a job cannot have a view of its own, bench/spawn.py reports it.
    assert all(reason.startswith("spawn: ") for reason in found.missing)
    for figure in (
        "e ./. /bin/date, 3 nodes, warm", "e ./. /bin/date, 3 nodes, cold nodes", "slave, from its start to joined",
        "slave, resident memory after two jobs", "1 MB of output from each of 3 nodes", "2 MB by -f to 3 nodes, cold",
    ):  # fmt: skip
        (ratio,) = (ratio for ratio in found.ratios if ratio.what == figure)
        assert len(ratio.ref.values) == len(ratio.this.values) == QUICK.runs
    assert {ratio.word for ratio in found.ratios} == {"too few turns"}
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.stress
@pytest.mark.usefixtures("in_git")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_comparison_leaves_neither_files_nor_processes(tmp_path: Path, sent: signal.Signals) -> None:
    running = subprocess.Popen(
        command("--compare", "HEAD", "--racks", "1", "--rack-size", "2", "dispatch"), env=environ(tmp_path), cwd="/",
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith(b"[dispatch]"):
            break
    while not list(tmp_path.glob("*/1.log")):  # a node of the first tree
        assert running.poll() is None
    running.send_signal(sent)
    running.send_signal(sent)
    running.stdout.close()
    assert running.wait(60) == 128 + sent
    assert list(tmp_path.iterdir()) == []
    assert list(processes.with_variable(f"TMPDIR={tmp_path}")) == []


def readings_of(name: str, log: list[str], values: dict[str, float]) -> Trial:
    """A trial that measures nothing: each side has one figure, and its value."""

    @contextlib.contextmanager
    def steps(checkout: Checkout, _settings: Settings) -> Iterator[Sequence[Step]]:
        log.append(f"+{checkout.name}")

        def step() -> list[Reading]:
            log.append(checkout.name)
            if values[checkout.name] < 0:
                raise TreeFailed("no tree")
            return [Reading(name, "s", values[checkout.name])]

        yield (step,)
        log.append(f"-{checkout.name}")

    return Trial(steps, turns=4, turns_of_a_tree=2)


SIDES = (Checkout("/ref", "A"), Checkout("/own", "B"))


def test_sides_take_turns_and_start_anew_after_some() -> None:
    log: list[str] = []
    (ratio,), _ = in_turns(SIDES, readings_of("date", log, {"A": 1.0, "B": 2.0}), QUICK, 4)
    assert log == ["+A", "+B", "A", "B", "B", "A", "-B", "-A", "+B", "+A", "A", "B", "B", "A", "-A", "-B"]
    assert (ratio.ref.values, ratio.this.values) == ((1.0,) * 4, (2.0,) * 4)
    assert ratio.spread.ratio == pytest.approx(2)


def test_a_failure_names_the_side_that_failed_and_ends_both() -> None:
    log: list[str] = []
    with pytest.raises(TreeFailed, match=r"^B: no tree$"):
        in_turns(SIDES, readings_of("date", log, {"A": 1.0, "B": -1.0}), QUICK, 4)
    assert log == ["+A", "+B", "A", "B"]


def test_a_figure_of_one_side_alone_is_left_out_and_named() -> None:
    both = [Reading("warm", "s", 1.0)]
    ratios, left_out = paired(both, [*both, Reading("cold", "s", 1.0)], ("A", "B"))
    assert [ratio.what for ratio in ratios] == ["warm"]
    assert left_out == ["cold: only B has it"]


def test_a_table_has_its_numbers_below_each_other() -> None:
    ratios = [compared("date", "s", [0.5], [1.0]), compared("memory of all", "MB", [100.0], [100.0])]
    assert lines(ratios) == [
        "figure            REF    this  ratio       spread",
        "date           0.50 s  1.00 s  2.000  2.000-2.000  too few turns",
        "memory of all  100 MB  100 MB  1.000  1.000-1.000  too few turns",
    ]


def test_what_a_job_costs_is_read_from_the_table_of_another_revision() -> None:
    table = (
        "                             CPU ms    above  wall ms   per job, median of 1\n"
        "posix_spawn                    0.55     0.00     0.60\n"
        "private root, two unions       4.02    -3.47     4.10\n"
    )
    assert spawncost.readings(table) == [
        Reading("one job, private root, two unions: CPU", "ms", 4.02),
        Reading("one job, private root, two unions", "ms", 4.10),
    ]
    both = (
        "private root, two unions, native       4.02     3.47     4.10\n"
        "private root, two unions, python       6.00     5.45     6.50\n"
    )
    assert [(one.what, one.value) for one in spawncost.readings(both)] == [
        ("one job, private root, two unions: CPU", 4.02), ("one job, private root, two unions", 4.10),
        ("one job, private root, two unions, python: CPU", 6.00), ("one job, private root, two unions, python", 6.50),
    ]  # fmt: skip
    with pytest.raises(TreeFailed, match="another table"):
        spawncost.readings("usage: spawn.py\n")


@pytest.mark.stress
@pytest.mark.usefixtures("in_git")
def test_each_side_imports_its_own_gproc_and_both_copies_go() -> None:
    with pair("HEAD") as sides:
        for side in sides:
            imported = subprocess.check_output(
                [sys.executable, "-c", "import gproc.nodespec as it; print(it.__file__)"],
                env=side.environment("/nowhere"), cwd="/", text=True,
            )  # fmt: skip
            assert imported == f"{side.path}/gproc/nodespec.py\n"
            assert os.path.exists(f"{side.path}/bench/spawn.py")
        assert sides[0].path != sides[1].path != OWN.path
    assert not any(os.path.exists(side.path) for side in sides)


def test_a_revision_with_missing_dependencies_is_refused_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "gproc").mkdir()
    (tmp_path / "gproc" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["msgspec>=0.1", "gproc-needs-this[fast]>=1; python_version > \'3\'"]\n'
    )
    with pytest.raises(CheckoutFailed, match=r"^old needs gproc-needs-this, which .* install it there first"):
        check(Checkout(str(tmp_path), "old"), str(tmp_path))


def test_a_directory_without_gproc_is_not_measured_with_the_one_that_is_installed(tmp_path: Path) -> None:
    with pytest.raises(CheckoutFailed, match=r"would import gproc from|has no package gproc"):
        check(Checkout(str(tmp_path / "empty"), "old"), str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare", "no-such-revision"], "git knows no revision 'no-such-revision'"),
        (["--compare=--output=x"], "git knows no revision '--output=x'"),
        (["--compare", "HEAD", "links"], "there is no comparison 'links'; there are dispatch, slave, output"),
    ],
)
@pytest.mark.usefixtures("in_git")
def test_a_comparison_that_is_impossible_is_a_usage_error(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = subprocess.run(
        command(*arguments), env=environ(tmp_path), cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
