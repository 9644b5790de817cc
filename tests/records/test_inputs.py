"""The last standard input of a job, for a master that comes back."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from gproc.records.inputs import InputFiles, InputPart, JobInputLog
from gproc.records.keeper import RecordKeeper
from gproc.records.record import Keeping
from tests.loop import run

KEPT = 10_000


def blocks(count: int, size: int = 1000) -> list[InputPart]:
    return [InputPart(number * size, bytes([number % 256]) * size) for number in range(count)]


@pytest.mark.parametrize("count", [1, 9, 25, 100])
def test_the_last_input_is_found_again_without_a_gap(tmp_path: Path, count: int) -> None:
    files = InputFiles(str(tmp_path / "input"))
    written = blocks(count)
    for block in written:
        files.append(7, KEPT, [block])
    end = InputPart(count * 1000, b"")
    files.append(7, KEPT, [end])
    found = InputFiles(str(tmp_path / "input")).go_on([7])[7]
    assert found == [*written, end][-len(found) :]
    assert sum(len(part.data) for part in found) >= min(KEPT, count * 1000)
    size = sum(file.stat().st_size for file in (tmp_path / "input").iterdir())
    assert size < 3 * KEPT + 2000


def test_what_was_written_half_is_cut_off_and_other_jobs_are_removed(tmp_path: Path) -> None:
    place = tmp_path / "input"
    files = InputFiles(str(place))
    for job in (7, 8):
        files.append(job, KEPT, blocks(3))
    torn = (place / "7.0").read_bytes()
    (place / "7.0").write_bytes(torn[:-100])
    again = InputFiles(str(place))
    assert again.go_on([7, 9]) == {7: blocks(2), 9: []}
    again.append(7, KEPT, [InputPart(2000, b"other")])
    assert InputFiles(str(place)).go_on([7]) == {7: [*blocks(2), InputPart(2000, b"other")]}
    assert {file.name for file in place.iterdir()} == {"7.0"}
    again.remove(7)
    assert not list(place.iterdir())


def test_a_job_does_not_go_on_with_less_input_than_its_nodes_have_because_a_disk_was_full(tmp_path: Path) -> None:
    """The disk took no record of it either, so the next master went on with the job; what was typed then came to some
    nodes instead of what others had."""
    place = str(tmp_path / "input")
    files = InputFiles(place)
    files.append(7, KEPT, blocks(1))
    files.append(8, KEPT, blocks(1))
    files.give_up(7)
    assert InputFiles(place).go_on([7, 8]) == {8: blocks(1)}
    assert InputFiles(place).go_on([7, 8]) == {8: blocks(1)}, "nobody could record that job 7 is lost"
    files.give_up(8)
    files.remove(8)
    assert InputFiles(place).go_on([]) == {}
    assert not list((tmp_path / "input").iterdir())


def test_input_is_passed_on_in_order_when_it_is_on_the_disk_and_if_the_disk_fails(tmp_path: Path) -> None:
    async def work() -> None:
        keeper = RecordKeeper(str(tmp_path), Keeping())
        files = InputFiles(str(tmp_path / "input"))
        passed: list[int] = []
        failures: list[bool] = []
        log = JobInputLog(keeper, files, 7, KEPT, lambda: failures.append(True))
        all_passed = asyncio.Event()

        def add(part: InputPart, number: int) -> None:
            def written() -> None:
                passed.append(number)
                if number % 10 == 9:
                    all_passed.set()

            log.add(part, written)

        for number, block in enumerate(blocks(10)):
            add(block, number)
        await all_passed.wait()
        assert (passed, log.works) == (list(range(10)), True)
        await keeper.run(lambda: shutil.rmtree(tmp_path / "input"))
        all_passed.clear()
        for number, block in enumerate(blocks(10), 10):
            add(block, number)
        await all_passed.wait()
        assert (passed, log.works, failures) == (list(range(20)), False, [True])
        keeper.close()

    run(work())


def test_a_log_has_begun_when_what_nodes_may_lack_already_is_on_the_disk(tmp_path: Path) -> None:
    """If the master crashed before, the next one had a job whose nodes lacked input, and did not have that input
    itself."""

    async def work() -> None:
        keeper = RecordKeeper(str(tmp_path), Keeping())
        files = InputFiles(str(tmp_path / "input"))
        log = JobInputLog(keeper, files, 7, KEPT, lambda: None)
        log.begin([])
        assert log.begun.is_set()
        log.begin(blocks(3))
        assert not log.begun.is_set()
        await log.begun.wait()
        assert InputFiles(str(tmp_path / "input")).go_on([7]) == {7: blocks(3)}
        keeper.close()

    run(work())


def test_a_job_that_had_ended_was_told_that_its_input_is_on_the_disk(tmp_path: Path) -> None:
    """What was being written when it ended was passed on to its nodes."""

    async def work() -> list[str]:
        told: list[str] = []
        keeper = RecordKeeper(str(tmp_path), Keeping())
        log = JobInputLog(keeper, InputFiles(str(tmp_path / "input")), 7, KEPT, lambda: None)
        log.add(blocks(1)[0], lambda: told.append("written"))
        await asyncio.sleep(0)  # it is being written
        writing = log._writing
        assert writing is not None
        log.close()
        await writing
        keeper.close()
        return told

    assert run(work()) == []


def test_a_job_without_input_that_goes_on_leaves_no_file(tmp_path: Path) -> None:
    """An empty one stayed until the next master."""
    place = tmp_path / "input"
    assert InputFiles(str(place)).go_on([7]) == {7: []}
    assert not list(place.iterdir())


def test_what_waits_as_a_job_ends_does_not_bring_its_files_back(tmp_path: Path) -> None:
    async def work() -> None:
        keeper = RecordKeeper(str(tmp_path), Keeping())
        place = tmp_path / "input"
        log = JobInputLog(keeper, InputFiles(str(place)), 7, KEPT, lambda: None)
        log.add(InputPart(0, b"first"), lambda: log.add(InputPart(5, b"second"), lambda: None))
        await asyncio.sleep(0)
        log.close()
        log.add(InputPart(11, b"third"), lambda: None)
        await keeper.run(lambda: None)
        await asyncio.sleep(0)
        await keeper.run(lambda: None)
        assert not list(place.iterdir())
        keeper.close()

    run(work())
