"""Output that is kept: its entries, what bounds drop, and reading while it is written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from gproc.records.entries import (
    END,
    HEAD_BYTES,
    Broken,
    Gap,
    Gaps,
    SpoolEntry,
    SpoolFile,
    end_of,
    entries_in,
    packed,
    rank_end,
    to_drop,
)
from gproc.records.spool import Batch, SpoolBounds, SpoolEnd, SpoolFiles, SpoolReader
from gproc.request.outcome import Returned
from gproc.service.takers import SharedCredit
from gproc.wire.frames import STDERR, STDOUT

entries = st.builds(
    SpoolEntry, st.integers(0, 9), st.sampled_from([STDOUT, STDERR]), st.integers(0, 1 << 60), st.floats(0, 1e10),
    st.binary(max_size=300),
)  # fmt: skip


@given(st.lists(entries, max_size=8), st.integers(0, 400))
def test_entries_are_read_as_they_were_written_and_a_torn_one_waits(written: list[SpoolEntry], cut: int) -> None:
    data = b"".join(map(packed, written))
    assert [entry for entry, _ in entries_in(data)] == written
    torn = data[: max(0, len(data) - cut)]
    whole = [entry for entry, _ in entries_in(torn)]
    assert whole == written[: len(whole)]
    assert sum(size for _, size in entries_in(torn)) <= len(torn)


@given(entries, st.data())
def test_no_flipped_bit_passes_for_output(entry: SpoolEntry, data: st.DataObject) -> None:
    wire = bytearray(packed(entry))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = [each for each, _ in entries_in(bytes(wire))]
    except Broken:
        return
    assert found == []  # a length that is longer now: the rest never comes


def test_an_end_of_text_that_is_none_is_broken_and_no_fault() -> None:
    """Found by fuzzing: its checksum may be right, because another version wrote it."""
    entry = SpoolEntry(0, END, 0, 1.0, b"\x92\x92\x05\xb7" + b"\xb7" * 24 + b"\x92\x00\x02")
    with pytest.raises(Broken):
        rank_end(entry)


def test_what_is_missing_between_entries_is_told_where_it_is_missing() -> None:
    gaps = Gaps(from_start=True)
    end = end_of(0, Returned(0), (20, 4), 1.0)
    told = [
        list(gaps.before(entry))
        for entry in (
            SpoolEntry(0, STDOUT, 0, 1.0, b"12345"), SpoolEntry(1, STDOUT, 3, 1.0, b"x"),
            SpoolEntry(0, STDOUT, 9, 1.0, b"z"), end,
        )
    ]  # fmt: skip
    assert told == [[], [Gap(1, STDOUT, 3)], [Gap(0, STDOUT, 4)], [Gap(0, STDOUT, 10), Gap(0, STDERR, 4)]]
    late = Gaps(from_start=False)
    assert [list(late.before(SpoolEntry(0, STDOUT, offset, 1.0, b"12"))) for offset in (7, 9, 12)] == [
        [], [], [Gap(0, STDOUT, 1)],
    ]  # fmt: skip
    assert rank_end(end).sizes == (20, 4)
    with pytest.raises(Broken):
        rank_end(SpoolEntry(0, END, 0, 1.0, b"\xc1"))


files = st.lists(
    st.builds(SpoolFile, st.integers(1, 5), st.integers(0, 5), st.integers(1, 100), st.booleans(), st.just(False)),
    unique_by=lambda file: file[:2], max_size=20,
)  # fmt: skip


@given(files, st.integers(0, 800))
def test_output_of_ended_jobs_goes_first_and_what_is_written_stays(found: list[SpoolFile], free: int) -> None:
    ended = {file.job: file.ended for file in found}
    last = {file.job: max(other.part for other in found if other.job == file.job) for file in found}
    found = [f._replace(ended=ended[f.job], open=not ended[f.job] and f.part == last[f.job]) for f in found]
    dropped = to_drop(found, free)
    left = set(found) - set(dropped)
    assert not any(file.open for file in dropped)
    assert sum(file.size for file in dropped) >= free or all(file.open for file in left)
    if any(not file.ended for file in dropped):
        assert not any(file.ended for file in left)
    for file in dropped:
        assert not any(other.job == file.job and other.part < file.part for other in left)


def entry(offset: int, size: int, rank: int = 0) -> bytes:
    return packed(SpoolEntry(rank, STDOUT, offset, 1.0, b"x" * size))


def read_all(reader: SpoolReader) -> list[SpoolEntry]:
    """The entries with data: those without say only where streams are."""
    found = []
    while entries := reader.read():
        found += [entry for entry in entries if entry.data]
    return found


def test_a_reader_sees_all_that_is_written_while_it_reads(tmp_path: Path) -> None:
    files = SpoolFiles(str(tmp_path / "spool"), SpoolBounds(1 << 20, 1 << 20))  # files of 32 KiB
    reader = SpoolReader(files.place, 7)
    assert reader.read() == []
    seen = 0
    for number in range(90):
        ends = files.write([Batch(7, 1000, [entry(number * 1000, 1000)], False)])
        if number % 7 == 0:
            seen += len(read_all(reader))
    assert seen + len(read_all(reader)) == 90
    assert len(os.listdir(tmp_path / "spool" / "7")) > 2
    late = SpoolReader(files.place, 7, ends[7])
    files.write([Batch(7, 1000, [entry(90_000, 10)], True)])
    assert [len(each.data) for each in late.read()] == [10]
    for each in (reader, late):
        each.close()


def test_a_users_bound_drops_the_oldest_and_counts_what_stays(tmp_path: Path) -> None:
    bound = 64 << 10
    files = SpoolFiles(str(tmp_path / "spool"), SpoolBounds(bound, 10 * bound))
    files.write([Batch(1, 1000, [entry(0, 20_000)], True), Batch(2, 5, [entry(0, 20_000)], True)])
    for number in range(100):
        files.write([Batch(3, 1000, [entry(number * 1000, 1000)], False)])
    size = sum(path.stat().st_size for path in (tmp_path / "spool").rglob("*") if path.is_file())
    assert size <= bound + 20_000 + HEAD_BYTES
    reader = SpoolReader(files.place, 3)
    kept = read_all(reader)
    assert kept[-1].offset == 99_000
    assert [gap.size for each in kept[:1] for gap in Gaps(from_start=True).before(each)] == [kept[0].offset]
    assert (files.problem_of(3), files.problem_of(2)) == ("the space for kept output is full", "")
    assert read_all(SpoolReader(files.place, 1)) == []
    other = SpoolReader(files.place, 2)
    assert len(read_all(other)) == 1
    for each in (reader, other):
        each.close()


def test_a_full_disk_drops_output_and_later_output_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = SpoolFiles(str(tmp_path / "spool"), SpoolBounds())
    files.write([Batch(1, 1000, [entry(0, 100)], False)])
    import resource

    size = (tmp_path / "spool" / "1" / "0").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, hard))  # a write is cut short, and the next one fails
    try:
        files.write([Batch(1, 1000, [entry(100, 100)], False)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)
    files.write([Batch(1, 1000, [entry(200, 100)], True)])
    reader = SpoolReader(files.place, 1)
    assert [each.offset for each in read_all(reader)] == [0, 200]
    reader.close()


def test_the_next_master_finds_what_is_kept_and_removes_what_has_no_record(tmp_path: Path) -> None:
    first = SpoolFiles(str(tmp_path / "spool"), SpoolBounds())
    first.write([Batch(number, 1000, [entry(0, 100)], True) for number in (1, 2, 3)])
    (tmp_path / "spool" / "3" / "0").write_bytes(entry(0, 100) + entry(100, 50)[:30])  # it crashed here
    (tmp_path / "spool" / "junk").mkdir()
    second = SpoolFiles(str(tmp_path / "spool"), SpoolBounds())
    second.open({1: 1000, 3: 1000})
    assert sorted(os.listdir(tmp_path / "spool")) == ["1", "3"]
    reader = SpoolReader(second.place, 3)
    assert [each.offset for each in read_all(reader)] == [0]
    reader.close()
    second.remove([1, 3])
    assert os.listdir(tmp_path / "spool") == []


def test_a_reader_that_stands_on_rubbish_goes_on_with_the_next_file(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "0").write_bytes(entry(0, 10) + b"\xa5" * 100)
    (tmp_path / "1" / "1").write_bytes(entry(20, 10))
    reader = SpoolReader(str(tmp_path), 1, SpoolEnd())
    assert [each.offset for each in read_all(reader)] == [0, 20]
    assert reader.broken
    reader.close()


@given(st.lists(st.tuples(st.sampled_from("sab"), st.integers(1, 50)), max_size=60))
def test_programs_write_as_fast_as_the_slowest_taker_takes(acts: list[tuple[str, int]]) -> None:
    credit = SharedCredit()
    taken = {"a": 0, "b": 0}
    sent = passed = 0
    credit.join("a")
    credit.join("b")
    for act, size in acts:
        if act == "s":
            credit.sent(STDOUT, size)
            sent += size
        else:
            size = min(size, sent - taken[act])
            taken[act] += size
            passed += credit.take(act, STDOUT, size)
        assert passed == min(taken.values())
    passed += sum(size for _, size in credit.leave("b"))
    assert passed == taken["a"]
    credit.join("c")
    passed += credit.take("a", STDOUT, sent - taken["a"])
    assert passed == sent


def test_after_a_crash_a_spool_goes_on_where_its_last_whole_entry_ends(tmp_path: Path) -> None:
    first = SpoolFiles(str(tmp_path / "spool"), SpoolBounds())
    end = packed(end_of(1, Returned(3), (0, 0), 1.0))
    first.write([Batch(7, 1000, [entry(0, 100), end, entry(100, 50)], False)])
    file = tmp_path / "spool" / "7" / "0"
    whole = file.stat().st_size
    with file.open("ab") as torn:
        torn.write(entry(150, 80)[:-1])
    second = SpoolFiles(str(tmp_path / "spool"), SpoolBounds())
    second.open({7: 1000})
    found, at = second.go_on(7, 1000)
    assert (found.sizes, at) == ({(0, STDOUT): 150}, SpoolEnd(0, whole))
    assert found.ends[1].outcome == Returned(3)
    assert found.is_whole(0, STDOUT)
    assert found.digests[0, STDOUT].value() == blake3(b"x" * 150).digest()
    second.write([Batch(7, 1000, [entry(150, 80)], True)])
    reader = SpoolReader(second.place, 7)
    assert [(each.offset, len(each.data)) for each in read_all(reader) if each.kind == STDOUT] == [
        (0, 100), (100, 50), (150, 80),
    ]  # fmt: skip
    reader.close()


def test_positions_and_ends_are_known_although_a_bound_has_dropped_what_said_them(tmp_path: Path) -> None:
    bound = 1 << 20
    first = SpoolFiles(str(tmp_path / "spool"), SpoolBounds(bound, bound))
    quiet = packed(SpoolEntry(5, STDERR, 0, 1.0, b"said once"))
    first.write([Batch(7, 1000, [quiet, packed(end_of(6, Returned(9), (0, 0), 1.0))], False)])
    size, count = 10_000, 300
    for number in range(count):
        first.write([Batch(7, 1000, [entry(number * size, size)], False)])
    assert not (tmp_path / "spool" / "7" / "0").exists()
    second = SpoolFiles(str(tmp_path / "spool"), SpoolBounds(bound, bound))
    second.open({7: 1000})
    found, _ = second.go_on(7, 1000)
    assert found.sizes == {(5, STDERR): len(b"said once"), (0, STDOUT): size * count}
    assert found.ends[6].outcome == Returned(9)
    assert not found.is_whole(5, STDERR)
    assert not found.is_whole(0, STDOUT)


def test_a_full_disk_hides_no_position_once_it_takes_output_again(tmp_path: Path) -> None:
    files = SpoolFiles(str(tmp_path / "spool"), SpoolBounds())
    files.write([Batch(7, 1000, [entry(0, 100)], False)])
    (tmp_path / "spool" / "7").rename(tmp_path / "spool" / "away")
    (tmp_path / "spool" / "7").write_text("in the way")
    files.write([Batch(7, 1000, [entry(100, 100), packed(SpoolEntry(1, STDOUT, 0, 1.0, b"dropped"))], False)])
    (tmp_path / "spool" / "7").unlink()
    (tmp_path / "spool" / "away").rename(tmp_path / "spool" / "7")
    files.write([Batch(7, 1000, [entry(200, 100)], False)])
    again = SpoolFiles(str(tmp_path / "spool"), SpoolBounds())
    again.open({7: 1000})
    found, _ = again.go_on(7, 1000)
    assert found.sizes == {(0, STDOUT): 300, (1, STDOUT): len(b"dropped")}


def test_a_job_that_writes_far_more_than_is_kept_does_not_fill_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = SpoolFiles(str(tmp_path / "spool"), SpoolBounds(64 << 10, 64 << 10))
    with caplog.at_level("INFO", "gproc"):
        for number in range(300):
            files.write([Batch(3, 1000, [entry(number * 1000, 1000)], False)])
    assert len([line for line in caplog.messages if line.startswith("dropped ")]) == 1


def test_a_stray_file_kept_the_master_from_starting(tmp_path: Path) -> None:
    """Such as `lost+found`, or a copy that a person has made."""
    files = SpoolFiles(str(tmp_path), SpoolBounds())
    files.write([Batch(1, 7, [packed(SpoolEntry(0, STDOUT, 0, 1.0, b"said"))], ended=True)])
    (tmp_path / "1" / "0.bak").write_bytes(b"x")
    (tmp_path / "1" / "lost+found").mkdir()
    (tmp_path / "2").write_bytes(b"x")
    again = SpoolFiles(str(tmp_path), SpoolBounds())
    again.open({1: 7, 2: 7})
    reader = SpoolReader(str(tmp_path), 1)
    assert [entry.data for entry in reader.read()] == [b"said"]
    reader.close()


def test_half_an_entry_that_could_not_be_cut_off_hid_all_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that has become read-only for a while, or NFS that has lost its server."""
    files = SpoolFiles(str(tmp_path), SpoolBounds())
    write = os.write
    written: list[int] = []

    def batch(offset: int, data: bytes) -> Batch:
        return Batch(1, 7, [packed(SpoolEntry(0, STDOUT, offset, 1.0, data))], ended=False)

    def failing(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def half(handle: int, data: memoryview) -> int:
        if written:
            return failing()
        written.append(write(handle, data[: len(data) // 2]))
        return written[0]

    files.write([batch(0, b"first")])
    with monkeypatch.context() as broken:
        broken.setattr(os, "ftruncate", failing)
        broken.setattr(os, "write", half)
        files.write([batch(5, b"second")])
    files.write([batch(11, b"third")])
    reader, said = SpoolReader(str(tmp_path), 1), []
    while found := reader.read():
        said += [entry.data for entry in found if entry.data]
    reader.close()
    assert said == [b"first", b"third"]
    assert reader.broken == ""
