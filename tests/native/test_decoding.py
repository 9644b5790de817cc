"""SHA-256 and inflate of the static helper, each beside Python's: by themselves, with and without sanitizers."""

from __future__ import annotations

import hashlib
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gproc.native.build import HERE

OUTPUT_BYTES: Final = 1 << 20
"""As decode.c has it."""

SOURCES: Final = (
    "bits.c", "failure.c", "inflate.c", "prefixcode.c", "sha256.c", "shablocks.c", "shaprocessor.c", "sys.c",
)  # fmt: skip

WAYS: Final = {"optimized": ("-O2",), "sanitized": ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")}


class Decoder:
    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, what: bytes, data: bytes, piece: int) -> tuple[bool, bytes]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(struct.pack("<IIc3x", len(data), piece, what) + data)
        self._process.stdin.flush()
        good, size = struct.unpack("<II", self._process.stdout.read(8))
        return bool(good), self._process.stdout.read(size)

    def close(self) -> int:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            return self._process.wait()


@pytest.fixture(scope="module", params=list(WAYS))
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decoder]:
    compiler = shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    program = tmp_path_factory.mktemp("decode") / "decode"
    words = [compiler, "-g", "-std=c11", "-DHOSTED", "-ffreestanding", *WAYS[request.param], f"-I{HERE}"]
    sources = [str(HERE / name) for name in SOURCES]
    own = str(Path(__file__).with_name("decode.c"))
    done = subprocess.run([*words, "-o", str(program), own, *sources], capture_output=True, text=True)
    if done.returncode != 0 and request.param == "sanitized" and "asan" in done.stderr:
        pytest.skip("needs the compiler's sanitizers (Debian: libclang-rt-dev)")
    assert done.returncode == 0, done.stderr
    decoder = Decoder(program)
    yield decoder
    assert decoder.close() == 0


def contents() -> Iterator[bytes]:
    """Short codes, the longest ones, matches of all distances, nothing that can be compressed."""
    chance = random.Random(1)
    yield b""
    yield b"a"
    yield bytes(300_000)
    yield chance.randbytes(100_000)
    yield b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(20_000))
    yield Path(sys.executable).resolve().read_bytes()[:OUTPUT_BYTES]
    # As frequent as the numbers of Fibonacci: codes have 1 to 15 bits.
    one, two, letters = 1, 1, bytearray()
    for letter in range(24):
        letters += bytes([letter]) * one
        one, two = two, one + two
    chance.shuffle(letters)
    yield bytes(letters)
    for distance in (1, 2, 3, 5, 7, 8, 9, 31, 32_000, 32_768):
        yield chance.randbytes(distance) * (70_000 // distance + 2)


def test_sha256_of_all_lengths_is_that_of_the_standard_however_it_comes(decoder: Decoder) -> None:
    chance = random.Random(2)
    for length in [*range(300), 4095, 4096, 65_536 + 57]:
        data = chance.randbytes(length)
        expected = hashlib.sha256(data).digest()
        for what in b"s", b"p":
            for piece in 1 + length // 7, chance.randrange(1, 200), 1 << 20:
                assert decoder(what, data, piece)[1] == expected, (what, length, piece)


def test_a_processor_that_has_instructions_for_sha256_uses_them(decoder: Decoder) -> None:
    shown = Path("/proc/cpuinfo").read_text().split()
    if "aarch64" in shown or "sha_ni" not in shown:
        pytest.skip("this processor has none, or they are not asked for on a libc")
    assert decoder(b"s", b"x", 1)[0]


@pytest.mark.parametrize("strategy", [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_whatever_zlib_writes_is_read_as_it_was(decoder: Decoder, level: int, strategy: int) -> None:
    chance = random.Random(3)
    for data in contents():
        packer = zlib.compressobj(level, zlib.DEFLATED, 31, 9, strategy)
        packed = packer.compress(data[: len(data) // 2]) + packer.flush(zlib.Z_FULL_FLUSH)
        packed += packer.compress(data[len(data) // 2 :]) + packer.flush()
        for piece in chance.randrange(1, 30), 65_536:
            good, found = decoder(b"i", packed, piece)
            assert good
            assert found == data


def test_a_result_that_is_too_long_is_refused(decoder: Decoder) -> None:
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    good, found = decoder(b"i", packed.compress(bytes(OUTPUT_BYTES + 1)) + packed.flush(), 65_536)
    assert not good
    assert len(found) <= OUTPUT_BYTES


def test_an_archive_that_ends_too_early_is_refused_wherever_it_ends(decoder: Decoder) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = packer.compress(b"".join(b"%d\n" % n for n in range(300))) + packer.flush()
    for end in range(len(packed) - 8):
        assert not decoder(b"i", packed[:end], 1 + end % 19)[0], end


PLAIN = st.one_of(
    st.binary(max_size=3000),
    st.lists(st.sampled_from([b"a", b"bcd", b"hello ", bytes(40), bytes(range(256))]), max_size=300).map(b"".join),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    plain=PLAIN,
    level=st.sampled_from([0, 1, 6, 9]),
    strategy=st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE]),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4),
    piece=st.integers(1, 70),
)
def test_a_broken_archive_is_read_as_zlib_reads_it_or_is_refused(
    decoder: Decoder, plain: bytes, level: int, strategy: int, changes: list[tuple[int, int]], piece: int
) -> None:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31, 9, strategy)
    packed = bytearray(packer.compress(plain) + packer.flush())
    for at, byte in changes:
        packed[10 + at % (len(packed) - 10)] = byte
    good, found = decoder(b"i", bytes(packed), piece)
    unpacker = zlib.decompressobj(-15)
    try:
        expected = unpacker.decompress(packed[10:], OUTPUT_BYTES + 1)
    except zlib.error as error:
        # zlib refuses codes that leave something unused too, in whatever is never reached.
        assert not good or " set" in str(error)
        return
    if not unpacker.eof or len(expected) > OUTPUT_BYTES:
        assert not good
    elif good or len(unpacker.unused_data) >= 8:
        assert good
        assert found == expected
