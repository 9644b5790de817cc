"""The language of copies: what is no tree below one directory is no stream of steps."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.copy.steps import (
    ATTRIBUTES_BYTES_MAX,
    DATA_BYTES,
    SPECIAL_KINDS,
    STEP_BYTES_MAX,
    End,
    Extent,
    Folder,
    HardLink,
    Hole,
    Leaf,
    Leave,
    Special,
    Step,
    StepReader,
    SymlinkStep,
    Torn,
    Whole,
    check_name,
    data_header,
    step_frame,
)
from gproc.errors import PeerError

names = st.binary(min_size=1, max_size=255).filter(
    lambda name: name not in (b".", b"..") and b"/" not in name and b"\0" not in name
)
modes = st.integers(0, 0o7777)
users = st.integers(0, 0xFFFF_FFFE)
times = st.integers(-(2**63), 2**63 - 1)
targets = st.binary(min_size=1, max_size=300).filter(lambda target: b"\0" not in target)
numbers = st.integers(0, 2**63 - 1)
lengths = st.integers(1, 2**63 - 1)
attributes = st.lists(st.tuples(names, st.binary(max_size=50)), max_size=4).map(tuple)
kinds = st.sampled_from(sorted(SPECIAL_KINDS))
devices = st.integers(0, 0xFFFF_FFFF)
steps = st.one_of(
    st.builds(Folder, names, modes, users, users, times),
    st.builds(Leave, attributes),
    st.builds(SymlinkStep, names, targets, users, users, times, attributes, numbers),
    st.builds(Leaf, names, modes, users, users, times, st.integers(0, 2**63 - 1)),
    st.builds(
        Leaf, names, modes, users, users, times, st.integers(0, 2**62), names, st.integers(0, 2**62 - 1), attributes
    ),
    st.builds(
        Leaf, names, modes, users, users, times, numbers, attributes=attributes, sparse=st.booleans(), number=numbers
    ),
    st.sampled_from([Whole(), Torn(), End()]),
    st.builds(Hole, lengths),
    st.builds(Extent, st.integers(1, 2**62), names, st.integers(0, 2**62 - 1)),
    st.builds(Special, names, kinds, modes, users, users, times, devices, devices, attributes, numbers),
    st.builds(HardLink, names, st.integers(1, 2**63 - 1), st.booleans()),
)
items = st.lists(st.one_of(steps, st.binary(min_size=1, max_size=200)), max_size=12)


def encoded(stream: list[Step | bytes]) -> bytes:
    return b"".join(data_header(len(item)) + item if isinstance(item, bytes) else step_frame(item) for item in stream)


def read(pieces: list[bytes]) -> list[Step | bytes]:
    """With data that came in parts put together."""
    reader = StepReader()
    found: list[Step | bytes] = []
    for piece in pieces:
        for item in reader.feed(piece):
            if isinstance(item, memoryview):
                if found and isinstance(found[-1], bytes):
                    found[-1] += bytes(item)
                else:
                    found.append(bytes(item))
            else:
                found.append(item)
    return found


def joined(stream: list[Step | bytes]) -> list[Step | bytes]:
    found: list[Step | bytes] = []
    for item in stream:
        if isinstance(item, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += item
        else:
            found.append(item)
    return found


@given(items, st.integers(1, 50))
def test_a_stream_cut_anywhere_says_the_same(stream: list[Step | bytes], size: int) -> None:
    wire = encoded(stream)
    assert read([wire]) == joined(stream)
    assert read([wire[at : at + size] for at in range(0, len(wire), size)]) == joined(stream)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_unfinished_and_nothing_else(garbage: bytes) -> None:
    try:
        read([garbage])
    except PeerError:
        return


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"/etc", b"../x", b"a\0b", b"x" * 256])
def test_a_text_that_cannot_be_a_name_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="not the name of a file"):
        check_name(name)
    raw = msgspec.msgpack.encode([4, name, 0o644, 0, 0, 0, 0, b""])
    with pytest.raises(PeerError):
        read([len(raw).to_bytes(4) + b"\x01" + raw])


@pytest.mark.parametrize(
    "fields",
    [
        [1, b"d", 0o10000, 0, 0, 0],
        [1, b"d", -1, 0, 0, 0],
        [1, b"d", 0o755, 0xFFFF_FFFF, 0, 0],
        [1, b"d", 0o755, 0, 0, 2**63],
        [3, b"l", b"", 0, 0, 0],
        [3, b"l", b"a\0b", 0, 0, 0],
        [3, b"l", b"x" * 4096, 0, 0, 0],
        [4, b"f", 0o644, 0, 0, 0, -1, b""],
        [4, b"f", 0o644, 0, 0, 0, 0, b"../x"],
        [4, b"f", 0o644, 0, 0, 0, 1, b"x", -1],
        [4, b"f", 0o644, 0, 0, 0, 1, b"x", 2**63 - 1],
        [13],
        [2, [[b"user.x", b"v"]] * 1001],
        [2, [[b"user.x", bytes(65537)]]],
        [2, [[b"user.x", bytes(65536)]] * 2 + [[b"user.y", b"v"]]],
        [2, [[b"", b"v"]]],
        [2, [[b"user.\0", b"v"]]],
        [2, [[b"user." + b"x" * 251, b"v"]]],
        [8, 0],
        [8, -1],
        [8, 2**63],
        [9, 0, b"c", 0],
        [9, 1, b"", 0],
        [9, 1, b"../c", 0],
        [9, 1, b"c", 2**63 - 1],
        [10, b"d", 0o040000, 0o755, 0, 0, 0],
        [10, b"d", 0o100000, 0o755, 0, 0, 0],
        [10, b"a/b", 0o010000, 0o755, 0, 0, 0],
        [10, b"d", 0o020000, 0o755, 0, 0, 0, 2**32, 0],
        [11, b"l", 0, True],
        [11, b"l", -1, True],
        [11, b"..", 1, True],
    ],
)
def test_a_step_out_of_bounds_is_refused(fields: list[object]) -> None:
    raw = msgspec.msgpack.encode(fields)
    with pytest.raises(PeerError):
        read([len(raw).to_bytes(4) + b"\x01" + raw])


@pytest.mark.parametrize(
    ("length", "kind"), [(0, 1), (0, 2), (STEP_BYTES_MAX + 1, 1), (DATA_BYTES + 1, 2), (1, 0), (1, 3)]
)
def test_a_frame_out_of_bounds_is_refused_by_its_header(length: int, kind: int) -> None:
    with pytest.raises(PeerError):
        read([length.to_bytes(4) + bytes((kind,))])


def test_the_longest_step_fits() -> None:
    values = tuple((b"user.%0245d" % number, bytes(ATTRIBUTES_BYTES_MAX // 500 - 250)) for number in range(500))
    long = values[0][0] + b"x" * 5
    for attributes in (values, ((long, bytes(65536)), (long, bytes(65535 - 2 * len(long)))), ((b"u", b""),) * 1000):
        link = SymlinkStep(b"n" * 255, b"t" * 4095, 0xFFFF_FFFE, 0xFFFF_FFFE, 2**63 - 1, attributes, 2**63 - 1)
        assert read([encoded([link])]) == [link]
