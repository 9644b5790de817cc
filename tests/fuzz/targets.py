"""Decoders of what others send or write: bytes go in; a value comes out, or the error that the decoder promises.

A target takes any bytes.  It raises only for a fault of gproc: any error but the promised one, or a value that breaks a
promise.  Here are those of the wire, of trust and of programs; `files` and `sisters` have the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, cast

from gproc.bundle.env_string import split_string
from gproc.bundle.excerpt import abi_of, cut
from gproc.bundle.ldconfig import cache
from gproc.bundle.script import behind_shell, shebang, without_line
from gproc.content import manifest as manifests
from gproc.content.manifest import CHUNK_BYTES, Directory, File, Manifest, Symlink, digest_of, encode
from gproc.copy import steps
from gproc.errors import BundleError, GprocError, PeerError, SpecError, TrustError
from gproc.link.transport import Records
from gproc.nodespec import NodeSpec, Place, fold
from gproc.nodespec import Path as NodePath
from gproc.request.acts import SendSignal, SignalNodes
from gproc.request.outcome import Returned
from gproc.request.spec import BundleName, Caller, Request
from gproc.shown import shown
from gproc.spread.incoming import IncomingChunk, deflate
from gproc.trust.backup import opened_backup
from gproc.trust.carried import Credentials, credentials_in, one_file
from gproc.trust.certfile import certificate_file, stamp_in
from gproc.trust.certificates import certify, check_shown, new_ca
from gproc.trust.identity import Identity
from gproc.trust.keyfile import PUBLIC_HEADER, decode_key, encode_key, key_pem
from gproc.trust.lease import Lease
from gproc.trust.names import CertName, ClusterId
from gproc.trust.orders import JobInput, JobOrders, JobSigner, TreeEnds
from gproc.trust.outcomes import SignedEnd, read_end
from gproc.trust.renewal import NewKey, RenewalAnswer, read_answer
from gproc.trust.revocations import RevocationList
from gproc.trust.signing import SESSION_BYTES, Context, Signer, TicketRefused
from gproc.trust.succession import (
    Succession,
    read_retirement,
    read_succession,
    sign_retirement,
    sign_succession,
)
from gproc.trust.ticket import Grant, Ticket, TicketVerifier
from gproc.trust.turn import Turn, read_turn
from gproc.trust.vetting import Vetting
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
from tests.fuzz.work import WORK
from tests.pieces import piece_frame

REQUEST: Final = Request(
    nodes="1-2/.", argv=(b"/bin/x", b"y"), env=(b"A=1",), bundle=BundleName(b"d" * 32, 3), stdin=True
)
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
    """What is decoded can be encoded, and means the same."""
    found = manifests.decode(data)
    assert manifests.decode(encode(found)) == found
    assert all(b".." not in entry.path.split(b"/") for entry in found.entries)


TREE: Final[list[NodePath]] = [(1,), (2,), (1, 1), (1, 2), (2, 7)]


def _spec(data: bytes) -> None:
    """What is folded selects the same."""
    text = data.decode(errors="replace")
    for parse in (NodeSpec.parse, NodeSpec.parse_exclusion):
        with suppress(SpecError):
            chosen = parse(text).select(TREE)
            assert not chosen or NodeSpec.parse(fold(chosen)).select(TREE) == chosen


SIGNER: Final = Signer(b"s" * 32)
NONCE: Final = b"n" * 16
SESSION: Final = b"e" * SESSION_BYTES


def _signed(data: bytes) -> None:
    """Of a relay: whatever it changes is refused.  The first byte says what it is taken for."""
    verifier = TicketVerifier(SIGNER.public_key, NONCE, 0)
    signed = messages.Signed(data[1:-64], data[-64:])
    kind = data[0] % 3 if data else 0
    if kind == 0:
        verifier.admit(signed)
    elif kind == 1:
        verifier.accept_grant(signed, 1)
    else:
        verifier.accept_lease(signed)


JOB_SIGNER: Final = JobSigner(SIGNER, SESSION, 1)


def _orders(data: bytes) -> None:
    """Orders, ends, leases and input of one job.  The first byte says what it is taken for, the second whether the
    signature is genuine: then it is of a master of another version.  What a relay changed is always refused."""
    kind, genuine, data = (data[0] % 4, data[1] % 4 > 0, data[2:]) if len(data) > 1 else (0, False, data)
    payload, signature = data[:-64], data[-64:]
    context = (Context.ORDER, Context.END, Context.LEASE, Context.INPUT)[kind]
    if genuine and kind < 3:
        payload, signature = data, SIGNER.sign_bytes(context, data)
    signed = messages.Signed(payload, signature)
    verifier = _verifier()
    known = signed.signature in GENUINE
    if kind == 0:
        JobOrders(SIGNER.public_key, SESSION, 1, b"n" * 16).open(signed)
    elif kind == 1:
        verifier.check_end(signed, from_master=True)
    elif kind == 2:
        verifier.accept_lease(signed)
    else:
        assert JobInput(SIGNER.public_key, SESSION, 1).open(frames.InputBlock(0, signature, payload)) == payload
    assert genuine or known


def _order_seeds() -> Iterator[bytes]:
    order = JOB_SIGNER.order(SendSignal(15))
    later = JOB_SIGNER.order(SignalNodes(9, "1-2"))
    for signed in (order, later):
        yield b"\0\0" + signed.payload + signed.signature
        yield b"\0\1" + signed.payload
    yield b"\1\1" + SIGNER.sign(Context.END, TreeEnds(SESSION)).payload
    yield b"\2\1" + SIGNER.sign(Context.LEASE, Lease(SESSION, NONCE, 1, 1, (1,), False, 1.0, 0)).payload
    block = JOB_SIGNER.block(b"input")
    yield b"\3\0" + block.data + block.signature


GRANTED: Final = SIGNER.sign(Context.GRANT, Grant(SESSION, NONCE, Place((1,)), 1, 0))


def _verifier() -> TicketVerifier:
    """Of a node that has its place."""
    verifier = TicketVerifier(SIGNER.public_key, NONCE, 0, lambda: 0.0)
    verifier.joining()
    verifier.accept_grant(GRANTED, 1)
    return verifier


def _ours(data: bytes) -> None:
    """Of a master of another version: a genuine signature over anything."""
    kind = data[0] % 2 if data else 0
    payload = data[1:]
    context = (Context.TICKET, Context.GRANT)[kind]
    verifier = _verifier()
    signed = messages.Signed(payload, SIGNER.sign_bytes(context, payload))
    if kind == 0:
        verifier.check_target(verifier.admit(signed))
    else:
        verifier.accept_grant(signed, 1)


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


def _key(data: bytes) -> None:
    assert len(decode_key(PUBLIC_HEADER, data, "fuzzed")) == 32


def _revocations(data: bytes) -> None:
    """Of a master of another version, or of a relay: the first byte says whether the signature is genuine."""
    vetting = Vetting(SIGNER.public_key, lambda: 0.0)
    genuine = bool(data) and data[0] % 4 > 0
    payload = data[1:] if genuine else data[1:-64]
    signature = SIGNER.sign_bytes(Context.REVOCATIONS, payload) if genuine else data[-64:]
    assert vetting.learn(messages.Signed(payload, signature)) == (vetting.number > 0)
    assert genuine


def _renewed(data: bytes) -> None:
    """A master's answer to a question for a certificate, signed, whatever it says."""
    signed = messages.Signed(data, SIGNER.sign_bytes(Context.CERTIFICATE, data))
    own = Identity(CLUSTER, "node", "kn1", "", "", "", SIGNER.public_key)
    NEW_KEY.identity(read_answer(signed, SIGNER.public_key, SESSION), own, CA, SIGNER.public_key, 1)


ENDED: Final = SIGNER.sign(
    Context.OUTCOME, SignedEnd(SESSION, 1, 0, 1, Returned(3), (1, 2), (digest_of(b"a"), digest_of(b"bc")))
)


def _turn_or_end(data: bytes) -> None:
    """The turn of a node, or how a rank has ended, signed, whatever they say.  The first byte chooses."""
    kind, payload = data[:1], data[1:]
    if kind > b"\x7f":
        read_end(messages.Signed(payload, SIGNER.sign_bytes(Context.OUTCOME, payload)), SIGNER.public_key)
    else:
        signed = messages.Signed(payload, SIGNER.sign_bytes(Context.TURN, payload))
        assert read_turn(signed, SIGNER.public_key, SESSION, 1, Place((1,))).session == SESSION


def _succession(data: bytes) -> None:
    """New keys of a cluster, or the end of its old ones, signed, whatever they say.  The first byte chooses."""
    context, read = ((Context.NEW_KEYS, read_succession), (Context.OLD_KEYS_END, read_retirement))[data[:1] > b"\x7f"]
    read(messages.Signed(data[1:], SIGNER.sign_bytes(context, data[1:])), SIGNER.public_key)


def _certificate(data: bytes) -> None:
    """What a node shows with its question, and what it says to have signed."""
    check_shown([CA], data[64:], b"data", data[:64])


def _keys(data: bytes) -> None:
    """A file of `gproc key issue`, or a certificate's file."""
    stamp = stamp_in(data)
    assert stamp is None or stamp_in(b"\n" + stamp.line().encode()) == stamp
    credentials_in(data, "fuzzed")


def _backup(data: bytes) -> None:
    opened_backup(data[:30], b"passphrase")  # all of it would be the work of a key derivation each


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


CLUSTER: Final = ClusterId("0123456789abcdef" * 2)
CA, CA_KEY = new_ca(CLUSTER)
CERTIFICATE, STAMP = certify(CA, CA_KEY, CertName(CLUSTER, "node", "kn1"), SIGNER.public_key, ("::1",), 1, 9)
CREDENTIALS: Final = Credentials(
    f"gproc://{CLUSTER}\n".encode() + CA, encode_key(PUBLIC_HEADER, SIGNER.public_key),
    certificate_file(CertName(CLUSTER, "node", "kn1"), STAMP, CERTIFICATE), key_pem(b"s" * 32),
)  # fmt: skip
NEW_KEY: Final = NewKey()


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


def _signed_seeds() -> Iterator[bytes]:
    ticket = Ticket(session=SESSION, sequence=2, job=1, start_by_ms=9, caller=Caller(0, 0, ()), request=REQUEST)
    grant = Grant(SESSION, NONCE, Place((1,)), 2, 0)
    for kind, context, value in ((0, Context.TICKET, ticket), (1, Context.GRANT, grant)):
        signed = SIGNER.sign(context, value)
        yield bytes([kind]) + signed.payload + signed.signature


ORDERS: Final = tuple(_order_seeds())
GENUINE: Final = {seed[-64:] for seed in ORDERS if seed[1] == 0}


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
    "relayed": Target(_signed, (TicketRefused,), tuple(_signed_seeds())),
    "signed": Target(_ours, (TicketRefused,), tuple(seed[:-64] for seed in _signed_seeds())),
    "copy": Target(_steps, (), tuple(_step_seeds())),
    "chunk": Target(_chunk, (), (b"\0genuine", b"\1" + deflate(b"genuine"))),
    "shown": Target(_shown, (), (b"a name\x1b[2J\n", "\u202eevil\x9b".encode())),
    "tls": Target(_records, (), (b"\x17\x03\x03\x00\x05hello\x17\x03\x03\x00\x01x",)),
    "elf": Target(_elf, (GprocError,), (ELF,)),
    "ld.so.cache": Target(_libraries, (), (LIBRARIES,)),
    "script": Target(_script, (BundleError,), (b"#!/usr/bin/env -S a 'b c' \\t ${A}\n", b"#! /bin/sh -e\nx")),
    "revocations": Target(
        _revocations, (TicketRefused,),
        (b"\x01" + SIGNER.sign(Context.REVOCATIONS, RevocationList(7, (("kn1", 5),), (("AB", 9),))).payload,),
    ),
    "renewed": Target(
        _renewed, (TrustError,),
        (SIGNER.sign(Context.CERTIFICATE, RenewalAnswer(SESSION, b"k" * 32, b"gproc://", "no")).payload,),
    ),
    "turn or end": Target(
        _turn_or_end, (TicketRefused,),
        (b"\0" + SIGNER.sign(Context.TURN, Turn(SESSION, 3, 1, "1-2", 9)).payload, b"\xff" + ENDED.payload),
    ),
    "succession": Target(
        _succession, (TicketRefused,),
        (
            b"\0" + sign_succession(SIGNER, Succession(2, CA, b"k" * 32)).payload,
            b"\xff" + sign_retirement(SIGNER, 2).payload,
        ),
    ),
    "certificate": Target(_certificate, (TrustError,), (b"s" * 64 + CERTIFICATE,)),
    "keys": Target(_keys, (TrustError,), (one_file(CREDENTIALS),)),
    "backup": Target(_backup, (TrustError,), (b"gproc backup 1\n" + b"s" * 16,)),
    "key": Target(_key, (GprocError,), (encode_key(PUBLIC_HEADER, b"k" * 32),)),
    "orders": Target(_orders, (TrustError,), ORDERS),
    **FILES,
    **SISTERS,
    **WORK,
}  # fmt: skip


def run(target: Target, data: bytes) -> None:
    """Raises: anything but what was promised, which is a fault."""
    with suppress(*target.promised):
        target.decode(data)
