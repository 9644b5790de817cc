"""The reader of ELF files: what LIEF reads too, from any class and byte order, and never more than an error."""

from __future__ import annotations

import glob
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gproc.bundle import elf

Make = Callable[..., bytes]

LIBRARIES = sorted(glob.glob("/usr/lib/*-linux-gnu/lib*.so.*"))
SAMPLE = [*LIBRARIES[::25], "/usr/bin/date", "/usr/bin/git", "/usr/bin/perl"]


@pytest.mark.parametrize("path", [path for path in SAMPLE if os.path.isfile(path)])
def test_it_reads_what_lief_reads(path: str) -> None:
    lief = pytest.importorskip("lief", reason="needs lief to compare with")
    theirs = lief.ELF.parse(path)
    ours = elf.read(path)
    assert ours is not None
    assert list(ours.needed) == list(theirs.libraries)
    assert ours.interpreter == (theirs.interpreter if theirs.has_interpreter else "")
    assert ours.abi.machine == theirs.header.machine_type.value & 0xFFFF


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("little", [True, False], ids=["little", "big"])
def test_any_class_and_byte_order_is_read(make_elf: Make, tmp_path: Path, bits: int, little: bool) -> None:
    path = tmp_path / "x"
    path.write_bytes(
        make_elf(["liba.so", "libb.so"], bits=bits, little=little, machine=22, interpreter="/lib/ld.so.1", runpath="/r")
    )
    found = elf.read(str(path))
    assert found is not None
    assert found.abi == elf.Abi(bits, little, 22)
    assert (found.needed, found.interpreter, found.runpath) == (("liba.so", "libb.so"), "/lib/ld.so.1", "/r")


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fEL", b"!<arch>\n"])
def test_what_is_no_elf_file_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert elf.read(str(tmp_path / "x")) is None


@pytest.mark.parametrize("cut", [4, 5, 19, 40, 63, 64, 100, 200, 300])
def test_a_truncated_file_is_an_error_that_says_so(make_elf: Make, tmp_path: Path, cut: int) -> None:
    whole = make_elf(["liba.so"], interpreter="/lib64/ld-linux-x86-64.so.2", runpath="/some/where")
    (tmp_path / "x").write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(elf.BadElf, match=r"/x: "):
        elf.read(str(tmp_path / "x"))


def test_every_cut_of_a_real_program_is_an_error_or_loses_nothing_that_is_loaded(tmp_path: Path) -> None:
    whole = Path("/bin/date").resolve().read_bytes()
    path = tmp_path / "x"
    for cut in [*range(4, 2000, 7), *range(2000, len(whole), 4099)]:
        path.write_bytes(whole[:cut])
        try:
            found = elf.read(str(path))
        except elf.BadElf:
            continue
        assert found == elf.read("/bin/date")


def test_an_rpath_beside_a_runpath_is_not_reported(make_elf: Make, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(make_elf(rpath="/old", runpath="/new"))
    found = elf.read(str(tmp_path / "x"))
    assert found is not None
    assert (found.rpath, found.runpath) == (None, "/new")


def test_offsets_past_the_end_of_the_file_are_an_error(make_elf: Make, tmp_path: Path) -> None:
    whole = bytearray(make_elf(["liba.so"]))
    whole[32:40] = (2**64 - 8).to_bytes(8, "little")
    (tmp_path / "x").write_bytes(whole)
    with pytest.raises(elf.BadElf, match="truncated"):
        elf.read(str(tmp_path / "x"))


def test_a_header_that_claims_65535_segments_costs_no_memory(make_elf: Make, tmp_path: Path) -> None:
    whole = bytearray(make_elf(["liba.so"]))
    whole[56:58] = b"\xff\xff"
    (tmp_path / "x").write_bytes(whole)
    os.truncate(tmp_path / "x", 1 << 33)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(elf.BadElf, match="65535 program headers"):
        elf.read(str(tmp_path / "x"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), bits=st.sampled_from([32, 64]), little=st.booleans())
def test_a_corrupt_file_gives_an_answer_or_bad_elf_and_nothing_else(
    make_elf: Make, data: st.DataObject, bits: int, little: bool
) -> None:
    whole = bytearray(
        make_elf(["liba.so", "libb.so"], bits=bits, little=little, interpreter="/lib/ld.so.1", soname="s", rpath="/r")
    )
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(4, len(whole) - 1))
        whole[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    cut = data.draw(st.integers(4, len(whole)) | st.just(len(whole)))
    with tempfile.NamedTemporaryFile() as file:
        file.write(whole[:cut])
        file.flush()
        try:
            found = elf.read(file.name)
        except elf.BadElf:
            return
        assert found is not None
        assert elf.mentions(file.name, found, frozenset({b"no such symbol"})) is False
