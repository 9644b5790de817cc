"""Decoders of what others send or write: bytes go in; a value comes out, or the error that the decoder promises.

A target takes any bytes.  It raises only for a fault of gproc: any error but the promised one, or a value that breaks a
promise.  Here are those of the wire and of programs; `files`, `sisters`, `trust` and `work` have the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, cast

from gproc.bundle.env_string import split_string
from gproc.bundle.linking.excerpt import abi_of, cut
from gproc.bundle.linking.ldconfig import cache
from gproc.bundle.script import behind_shell, shebang, without_line
from gproc.content import manifest as manifests
from gproc.content.manifest import CHUNK_BYTES, Directory, File, Manifest, Symlink, digest_of, encode
from gproc.copy import steps
from gproc.errors import BundleError, GprocError, PeerError, SpecError
from gproc.link.transport import Records
from gproc.nodespec import NodeSpec, fold
from gproc.nodespec import Path as NodePath
from gproc.request.outcome import Returned
from gproc.shown import shown
from gproc.spread.incoming import IncomingChunk, deflate
from gproc.wire import frames, messages
from gproc.wire.branch import Branch
from gproc.wire.credentials import AskCertificate, Certified, Revocations
from gproc.wire.directions import DIRECTIONS
from gproc.wire.endings import Acknowledged, OutputGone, RankEnded
from gproc.wire.loads import Load
from gproc.wire.merging import AnnounceOutput, BringOutput, SameOutput
from gproc.wire.proofs import KeyProof
from gproc.wire.stacks import StackRow, StacksShown
from tests.fuzz.files import FILES
from tests.fuzz.sisters import SISTERS
from tests.fuzz.target import OneFile, Target
from tests.fuzz.trust import REQUEST, TRUST
from tests.fuzz.work import WORK
from tests.pieces import piece_frame

PROOF: Final = KeyProof(b"-----BEGIN", b"k" * 32, b"s" * 64)
NODE: Final = messages.NodeInfo("kn1", ":7", b"n" * 16, "", 1.0, proof=PROOF)
SAID: Final[tuple[messages.Message, ...]] = (
    messages.Submit(1, REQUEST),
    messages.Join(b"t" * 16, 1, True, NODE),
    messages.Arrived(messages.Route((1, 2)), NODE),
    messages.Finished(1, 0, Returned(3)),
    RankEnded(1, 0, messages.Signed(b"p", b"s" * 64)),
    Acknowledged(1, 0, 1, 65536, b"s" * 64),
    OutputGone(1, 0, 1, 65536, b"s" * 64),
    messages.Want(b"b" * 32, (b"c" * 32,)),
    messages.Run(1, 2, messages.Signed(b"p", b"s" * 64), Branch(0, {1: Branch(1, {})}), 65536),
    Load(1, ((messages.Route((1,)), 0.5),)),
    Revocations(messages.Signed(b"p", b"s" * 64)),
    SameOutput(7, 3, 1, 1 << 20, 1 << 18, 0, 5),
    AnnounceOutput(7, 3, 1, 5000, 8000, 9, bytes(2 * 16), 5),
    BringOutput(7, 9, b"abc"),
    StacksShown(7, 2, ((0, 3), (5, 5)), (StackRow(("sh", "sleeping"), 4, ((0, 3),)),)),
    AskCertificate(messages.Route((1,)), b"-----BEGIN", b"k" * 32, b"s" * 64, b"p" * 64),
    Certified(messages.Route((1,)), messages.Signed(b"p", b"s" * 64)),
    messages.TreeState(1, "fe", 1.0, ()),
)


def _stream(data: bytes) -> None:
    """A whole connection: the preface, then frames in pieces; the first byte chooses their size."""
    size, data = 1 + 3 * data[0] if data else 1, data[1:]
    if len(data) >= frames.PREFACE_BYTES:
        frames.read_preface(data[: frames.PREFACE_BYTES])
    reader = frames.FrameReader()
    data = data[frames.PREFACE_BYTES :]
    while data:
        space = reader.space()
        count = min(size, len(space), len(data))
        space[:count] = data[:count]
        data = data[count:]
        for kind, payload in reader.frames(count):
            if kind == frames.KIND_STDIO:
                frames.read_stdio(payload)
            elif kind == frames.KIND_INPUT:
                frames.read_input(payload)
            elif kind == frames.KIND_CHUNK:
                piece = frames.read_piece(payload)
                assert piece.offset + len(piece.data) <= piece.total <= frames.MAX_BLOB_BYTES


def _message(data: bytes) -> None:
    """The first byte chooses the direction."""
    DIRECTIONS[data[0] % len(DIRECTIONS) if data else 0].decode(memoryview(data[1:]))


def _manifest(data: bytes) -> None:
    """A decoded value can be encoded, and means the same."""
    found = manifests.decode(data)
    assert manifests.decode(encode(found)) == found
    assert all(b".." not in entry.path.split(b"/") for entry in found.entries)


TREE: Final[list[NodePath]] = [(1,), (2,), (1, 1), (1, 2), (2, 7)]


def _spec(data: bytes) -> None:
    """A folded list selects the same nodes."""
    text = data.decode(errors="replace")
    for parse in (NodeSpec.parse, NodeSpec.parse_exclusion):
        with suppress(SpecError):
            chosen = parse(text).select(TREE)
            assert not chosen or NodeSpec.parse(fold(chosen)).select(TREE) == chosen


def _steps(data: bytes) -> None:
    """Fed whole, and byte by byte, it is the same."""
    whole: list[object] = []
    apart: list[object] = []
    for found, parts in ((whole, [data]), (apart, [data[at : at + 1] for at in range(len(data))])):
        reader = steps.StepReader()
        with suppress(PeerError):
            for part in parts:
                found += [item for item in reader.feed(part) if not isinstance(item, memoryview)]
    assert whole[: len(apart)] == apart[: len(whole)]


def _chunk(data: bytes) -> None:
    """A chunk in a codec: what is taken has the digest that was asked for."""
    codec = data[0] % 2 if data else 0
    wanted = digest_of(b"genuine")
    chunk = IncomingChunk(wanted, CHUNK_BYTES)
    for piece in frames.pieces(wanted, codec, data[1:]):
        chunk.add(piece)
    content = chunk.finish()
    assert content is None or digest_of(b"".join(content)) == wanted


def _shown(data: bytes) -> None:
    assert shown(data).isprintable()


def _records(data: bytes) -> None:
    """In pieces as TLS comes: what is held is never negative."""
    records = Records()
    for begin in range(0, len(data), 7):
        records.follow(memoryview(data)[begin : begin + 7])
        assert 0 <= records.held <= 5 + 0xFFFF


def _elf(data: bytes) -> None:
    abi_of(data[:64])
    handle = os.memfd_create("fuzz")
    try:
        os.write(handle, data)
        cut("fuzzed", handle)
    finally:
        os.close(handle)


def _libraries(data: bytes) -> None:
    abi = abi_of(ELF[:64])
    assert abi is not None
    cache(OneFile(data), abi)  # type: ignore[arg-type]


def _script(data: bytes) -> None:
    with suppress(BundleError):
        shebang(data, "fuzzed")
    without_line(data)
    behind_shell(data)
    split_string(os.fsdecode(data), "fuzzed", lambda name: {"A": "1"}.get(name))


def _head_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(4096)


ELF: Final = _head_of("/proc/self/exe")
LIBRARIES: Final = _head_of("/etc/ld.so.cache") if os.path.exists("/etc/ld.so.cache") else b""
MANIFEST: Final = encode(
    Manifest(
        b"/usr/f", b"/lib/ld.so", (b"/usr",), (b"/usr",), (b"/usr/f",), (2, 36),
        (
            Directory(b"/usr", 0o755, 0, 0), File(b"/usr/f", 0o644, 0, 0, 3, 0, digest_of(b"abc")),
            Symlink(b"/usr/l", b"f"),
        ),
    )
)  # fmt: skip


def _stream_seeds() -> Iterator[bytes]:
    body = [
        *map(messages.frame, SAID),
        frames.stdio_frame(1, 0, frames.STDOUT, 0, b"output"),
        frames.input_frame(1, frames.InputBlock(0, b"s" * 64, b"input")),
        *map(piece_frame, frames.pieces(b"d" * 32, frames.CODEC_RAW, b"chunk")),
    ]
    yield b"\xff" + frames.preface(frames.CHANNEL_CLIENT) + b"".join(body)
    for frame in body:
        yield b"\x03" + frames.preface(frames.CHANNEL_BULK) + frame


def _message_seeds() -> Iterator[bytes]:
    for number, direction in enumerate(DIRECTIONS):
        for message in SAID:
            if isinstance(message, tuple(cast(Any, direction).messages)):
                yield bytes([number]) + messages.frame(message)[frames.HEADER_BYTES :]


def _step_seeds() -> Iterator[bytes]:
    said: tuple[steps.Step, ...] = (
        steps.Folder(b"d", 0o755, 0, 0, 1),
        steps.Leaf(b"f", 0o644, 0, 0, 1, 3),
        steps.SymlinkStep(b"l", b"f", 0, 0, 1),
        steps.Hole(3),
        steps.HardLink(b"h", 1, True),
        steps.Leave(),
        steps.End(),
    )
    yield b"".join(map(steps.step_frame, said)) + steps.data_header(3) + b"abc"


TARGETS: Final = {
    "stream": Target(_stream, (PeerError,), tuple(_stream_seeds())),
    "message": Target(_message, (PeerError,), tuple(_message_seeds())),
    "manifest": Target(_manifest, (BundleError,), (MANIFEST,)),
    "specification": Target(_spec, (), (b"1-2,3/1-3", b"=1/4-7,=2/.", b"./.")),
    "copy": Target(_steps, (), tuple(_step_seeds())),
    "chunk": Target(_chunk, (), (b"\0genuine", b"\1" + deflate(b"genuine"))),
    "shown": Target(_shown, (), (b"a name\x1b[2J\n", "\u202eevil\x9b".encode())),
    "tls": Target(_records, (), (b"\x17\x03\x03\x00\x05hello\x17\x03\x03\x00\x01x",)),
    "elf": Target(_elf, (GprocError,), (ELF,)),
    "ld.so.cache": Target(_libraries, (), (LIBRARIES,)),
    "script": Target(_script, (BundleError,), (b"#!/usr/bin/env -S a 'b c' \\t ${A}\n", b"#! /bin/sh -e\nx")),
    **FILES,
    **SISTERS,
    **TRUST,
    **WORK,
}  # fmt: skip


def run(target: Target, data: bytes) -> None:
    """Raises: anything but what was promised, which is a fault."""
    with suppress(*target.promised):
        target.decode(data)
