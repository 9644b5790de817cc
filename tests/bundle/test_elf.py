"""The reader of ELF files finds what readelf finds, for any class and byte order, and only errors in bad files."""

from __future__ import annotations

import glob
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gproc.bundle.linking import elf

Make = Callable[..., bytes]

LIBRARIES = sorted(glob.glob("/usr/lib/*-linux-gnu/lib*.so.*"))
SAMPLE = [*LIBRARIES[::25], "/usr/bin/date", "/usr/bin/git", "/usr/bin/perl"]


@pytest.fixture
def readelf() -> Callable[[str], str]:
    """The output of binutils' readelf for a file's header, program headers and dynamic section."""
    if shutil.which("readelf") is None:
        pytest.skip("needs readelf (binutils) to compare with")

    def run(path: str) -> str:
        command = ["readelf", "--wide", "--file-header", "--program-headers", "--dynamic", path]
        return subprocess.run(command, capture_output=True, text=True, check=True, env={"LC_ALL": "C"}).stdout

    return run


def one(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return None if found is None else found[1]


@pytest.mark.parametrize("path", [path for path in SAMPLE if os.path.isfile(path)])
def test_it_reads_what_readelf_reads(path: str, readelf: Callable[[str], str]) -> None:
    text = readelf(path)
    found = elf.read(path)
    assert found is not None
    assert (found.abi.bits, found.abi.little) == (64 if "ELF64" in text else 32, "little endian" in text)
    assert found.interpreter == (one(r"program interpreter: (\S+)\]", text) or "")
    assert list(found.needed) == re.findall(r"Shared library: \[(.*)\]", text)
    assert found.soname == (one(r"Library soname: \[(.*)\]", text) or "")
    assert found.rpath == one(r"Library rpath: \[(.*)\]", text)
    assert found.runpath == one(r"Library runpath: \[(.*)\]", text)


@pytest.mark.parametrize(
    "flags", ["", "-Wl,-z,nodefaultlib", "-static", "-static-pie", "-Wl,-rpath,/r,--disable-new-dtags"]
)
def test_it_reads_what_the_static_linker_wrote(compiled: Callable[..., Path], flags: str) -> None:
    found = elf.read(str(compiled("prog", "int main() { return 0; }", *flags.split())))
    assert found is not None
    assert bool(found.needed) == bool(found.interpreter) == (not flags.startswith("-static"))
    assert found.no_default_dirs == ("nodefaultlib" in flags)
    assert found.rpath == ("/r" if "-rpath" in flags else None)


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
def test_a_file_that_is_not_elf_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert elf.read(str(tmp_path / "x")) is None


@pytest.mark.parametrize("cut", [4, 5, 19, 40, 63, 64, 100, 200, 300])
def test_a_truncated_file_is_an_error_with_the_reason(make_elf: Make, tmp_path: Path, cut: int) -> None:
    whole = make_elf(["liba.so"], interpreter="/lib64/ld-linux-x86-64.so.2", runpath="/some/where")
    (tmp_path / "x").write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(elf.BadElf, match=r"/x: "):
        elf.read(str(tmp_path / "x"))


def test_every_cut_of_a_real_program_is_an_error_or_keeps_everything_that_is_loaded(tmp_path: Path) -> None:
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


def test_a_string_table_at_a_likely_place_of_the_dynamic_section_is_not_taken_for_it(
    make_elf: Make, tmp_path: Path
) -> None:
    whole = bytearray(make_elf(["liba.so"]))
    table = whole.index(struct.pack("<qQ", 10, len("\0liba.so\0"))) - 16
    strings = int.from_bytes(whole[table + 8 : table + 16], "little")
    whole[table + 8 : table + 16] = bytes(8)
    whole[64 + 8 : 64 + 24] = struct.pack("<QQ", strings, 0)
    whole[64 + 32 : 64 + 40] = struct.pack("<Q", len(whole) - strings)
    (tmp_path / "x").write_bytes(whole)
    found = elf.read(str(tmp_path / "x"))
    assert found is not None
    assert (found.needed, found.strings) == (("liba.so",), (strings, len("\0liba.so\0")))


def test_of_two_string_tables_only_the_last_holds_the_names(make_elf: Make, tmp_path: Path) -> None:
    whole = bytearray(make_elf(["liba.so"], soname="libb.so"))
    at = whole.index(struct.pack("<q", 14) + struct.pack("<Q", len("\0liba.so\0")))
    whole[at : at + 16] = struct.pack("<qQ", 5, 1 << 40)
    (tmp_path / "x").write_bytes(whole)
    found = elf.read(str(tmp_path / "x"))
    assert found is not None
    assert (found.needed, found.soname) == (("liba.so",), "")


def test_a_dynamic_section_without_a_string_table_is_an_error(make_elf: Make, tmp_path: Path) -> None:
    whole = bytearray(make_elf())
    at = whole.index(struct.pack("<qQ", 10, 1)) - 16
    whole[at : at + 8] = struct.pack("<q", 21)
    (tmp_path / "x").write_bytes(whole)
    with pytest.raises(elf.BadElf, match="no string table"):
        elf.read(str(tmp_path / "x"))


def test_a_name_that_is_not_utf_8_is_read_as_the_kernel_has_it(make_elf: Make, tmp_path: Path) -> None:
    name = os.fsdecode(b"lib\xff\xe4.so")
    (tmp_path / "x").write_bytes(make_elf([name], soname=name, runpath=f"/{name}"))
    found = elf.read(str(tmp_path / "x"))
    assert found is not None
    assert (found.needed, found.soname, found.runpath) == ((name,), name, f"/{name}")


def test_an_interpreter_may_have_any_printable_name(make_elf: Make, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(make_elf(interpreter="/opt/Zürich/ld.so"))
    found = elf.read(str(tmp_path / "x"))
    assert found is not None
    assert found.interpreter == "/opt/Zürich/ld.so"
    (tmp_path / "x").write_bytes(make_elf(interpreter=os.fsdecode(b"/opt/Z\xfcrich/ld.so")))
    with pytest.raises(elf.BadElf, match="printable UTF-8"):
        elf.read(str(tmp_path / "x"))


@pytest.mark.parametrize(("machine", "bits"), [(62, 32), (183, 32), (3, 64), (243, 64)])
def test_the_header_alone_says_which_class_a_file_has(make_elf: Make, tmp_path: Path, machine: int, bits: int) -> None:
    (tmp_path / "x").write_bytes(make_elf(["liba.so"], bits=bits, machine=machine))
    found = elf.read(str(tmp_path / "x"))
    assert found is not None
    assert (found.abi, found.needed) == (elf.Abi(bits, True, machine), ("liba.so",))


def test_more_libraries_than_lief_would_report_are_an_error_and_not_left_out(make_elf: Make, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(make_elf([f"lib{number}.so" for number in range(990)]))
    found = elf.read(str(path))
    assert found is not None
    assert found.needed[-1] == "lib989.so"
    path.write_bytes(make_elf([f"lib{number}.so" for number in range(1000)]))
    with pytest.raises(elf.BadElf, match="names 1000 libraries"):
        elf.read(str(path))


def test_one_long_name_that_is_needed_many_times_costs_no_memory(make_elf: Make, tmp_path: Path) -> None:
    whole = bytearray(make_elf(["x" * 100_000] + ["y"] * 900))
    for at in range(whole.index(struct.pack("<qQ", 1, 1)), len(whole), 16):
        if whole[at : at + 8] == (1).to_bytes(8, "little"):
            whole[at + 8 : at + 16] = (1).to_bytes(8, "little")
    (tmp_path / "x").write_bytes(whole)
    with pytest.raises(elf.BadElf, match="names in its dynamic section have 90100000 bytes"):
        elf.read(str(tmp_path / "x"))


def test_a_large_file_costs_as_little_as_a_small_one(tmp_path: Path) -> None:
    shutil.copy("/bin/date", tmp_path / "x")
    os.truncate(tmp_path / "x", 1 << 33)
    expected = elf.read("/bin/date")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert elf.read(str(tmp_path / "x")) == expected
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10


def test_lief_is_loaded_for_the_first_file_and_prints_nothing(make_elf: Make, tmp_path: Path) -> None:
    whole = make_elf(["liba.so"])
    (tmp_path / "x").write_bytes(whole)
    (tmp_path / "cut").write_bytes(whole[:-20])
    code = (
        "import sys\n"
        "from gproc.bundle.linking import elf\n"
        "assert elf.abi_of('x') is not None and elf.read('/dev/null') is None\n"
        "try: elf.read('cut')\n"
        "except elf.BadElf: pass\n"
        "assert 'lief' not in sys.modules\n"
        "assert elf.read('x').needed == ('liba.so',)\n"
        "assert 'lief' in sys.modules"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


NAMES = st.binary(min_size=1, max_size=300).map(lambda name: os.fsdecode(name.replace(b"\0", b"x")))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    needed=st.lists(NAMES, max_size=5),
    soname=NAMES | st.just(""),
    rpath=NAMES | st.none(),
    runpath=NAMES | st.none(),
    bits=st.sampled_from([32, 64]),
    little=st.booleans(),
    machine=st.integers(0, 0xFFFF),
)
def test_it_reads_exactly_what_was_written(
    make_elf: Make,
    needed: list[str],
    soname: str,
    rpath: str | None,
    runpath: str | None,
    bits: int,
    little: bool,
    machine: int,
) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(
            make_elf(needed, bits=bits, little=little, machine=machine, soname=soname, rpath=rpath, runpath=runpath)
        )
        file.flush()
        found = elf.read(file.name)
    assert found is not None
    assert found.abi == elf.Abi(bits, little, machine)
    assert (list(found.needed), found.soname, found.interpreter) == (needed, soname, "")
    assert (found.rpath, found.runpath) == (rpath if runpath is None else None, runpath)


@pytest.mark.slow
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
