"""Decoders of other systems' protocols, of what hosts answer when slaves are started there, and of a client."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from gproc.adapters.gfork.frames import DATA, OPENED, BrokenLink, Frame, LinkReader
from gproc.adapters.gfork.grammar import parse
from gproc.adapters.gfork.settings import settings_of
from gproc.adapters.gridftp.names import names_in
from gproc.adapters.gridftp.packets import (
    BadPacket,
    MessageKind,
    Registration,
    is_ack,
    memory_limit,
    read_packet,
    released_limit,
)
from gproc.adapters.invoke.attributes import BadAttribute, invocation_of
from gproc.adapters.invoke.protocol import LINE_BYTES_MAX, BadRequest, CreateJob, RequestReader
from gproc.client.session import ClientSession
from gproc.errors import PeerError, UsageError
from gproc.launch.protocol import ProgramEnded, SignalProcess, SpawnFailed, answer, framed
from gproc.launch.protocol import request as launcher_request
from gproc.locales import Parent
from gproc.nodespec import Place
from gproc.request.outcome import Returned
from gproc.request.spec import Request
from gproc.start.commission import SECRET_BYTES, Commission
from gproc.start.script import Answer
from gproc.trust.carried import Credentials
from gproc.wire import frames, job_messages, messages
from tests.fuzz.target import Target


def _gfork(data: bytes) -> None:
    """Fed whole, and byte by byte, it is the same."""
    found: tuple[list[Frame], list[Frame]] = ([], [])
    broken = []
    for into, parts in zip(found, ([data], [data[at : at + 1] for at in range(len(data))]), strict=True):
        reader = LinkReader()
        try:
            for part in parts:
                into += reader.feed(part)
        except BrokenLink:
            broken.append(len(into))
    whole, apart = found
    assert whole == apart[: len(whole)]
    assert broken or whole == apart


def _gfork_configuration(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for block in parse(text, "fuzzed").blocks:
        for entry in block.entries:
            entry.words()
    settings_of(parse(text, "fuzzed"))


def _gridftp(data: bytes) -> None:
    """A registration that is taken passes through unchanged.  The first byte says what it is taken for."""
    kind, data = (data[0] % 3, data[1:]) if data else (0, data)
    if kind == 0:
        found, registration = read_packet(data)
        assert read_packet(registration.packet(found)) == (found, registration)
        assert registration.contact.isascii() and registration.contact.isprintable()
    elif kind == 1:
        limit = released_limit(data)
        assert limit is None or 0 <= limit < 2**32
        is_ack(data)
    else:
        assert all(names_in(data.decode(errors="replace")))


def _invoke(data: bytes) -> None:
    """The requests of a Ninf-G client, whole and in pieces.  What is no job has one clause that says why."""
    found: list[list[object]] = []
    for size in (len(data) or 1, 7):
        reader = RequestReader()
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        found.append([request for part in parts for request in reader.feed(part)])
    assert found[0] == found[1] or len(data) > LINE_BYTES_MAX
    for request in found[0]:
        if isinstance(request, BadRequest):
            assert request.reason
        elif isinstance(request, CreateJob):
            try:
                invocation_of(request.attributes)
            except BadAttribute as error:
                assert str(error)


def _commission(data: bytes) -> None:
    """A slave's secret, as it comes out of the bootstrap's pipe."""
    Commission.decoded(data[:SECRET_BYTES].ljust(SECRET_BYTES, b"\0"))


def _host_says(data: bytes) -> None:
    for line in data.splitlines(keepends=True):
        found = Answer.read(line)
        assert found is None or "\n" not in found.word + found.rest


def _launcher(data: bytes) -> None:
    """Both directions; the first byte chooses."""
    if data[:1] == b"\0":
        launcher_request(data[1:])
    else:
        answer(data[1:])


def _client(data: bytes) -> None:
    """A client that has submitted a job, looks at one and asks for the tree; its master answers anything."""
    session = ClientSession()
    session.submit(Request(nodes=".", argv=(b"x",), stdin=True))
    session.view("last", control=True)
    session.inquire()
    size = 1 + 3 * data[0] if data else 1
    data = frames.preface(frames.CHANNEL_CLIENT) + data[1:]
    while data:
        space = session.space()
        count = min(size, len(space), len(data))
        space[:count] = data[:count]
        data = data[count:]
        list(session.received(count))


def _client_seed() -> bytes:
    said = (
        messages.Accepted(1, 7, (Place((1,)), Place((2,))), "", 65536),
        messages.Credit(7, frames.STDIN, 9),
        messages.Finished(7, 0, Returned(3)),
        job_messages.Viewing(2, 1 << 62, 7, "n", (Place((1,)),), "", "running", (b"x",), 65536),
        job_messages.Moment(1 << 62, 1.5),
        job_messages.Dropped(1 << 62, 0, frames.STDOUT, 5),
        messages.TreeState(3, "fe", 1.0, ()),
        messages.Want(b"b" * 32, (b"c" * 32,)),
        job_messages.Detached(1 << 62, "no"),
        messages.Rejected(9, 2, "no"),
    )
    first, *rest = map(messages.frame, said)
    return b"\xff" + first + frames.stdio_frame(7, 1, frames.STDOUT, 0, b"output") + b"".join(rest)


GFORK_CONF: Final = b"""service gridftp
{
    port = 5000
    env += A=1 'B=x y'
    only_from = 10.0.0.0/8
    crowded = "421 Try later "
    server = /usr/sbin/x
}
"""

JOB_CREATE: Final = b"""JOB_CREATE 1\r
hostname kn1\r
port 0\r
executable_path /bin/x\r
backend NORMAL\r
count 1\r
staging true\r
stdin_file \r
redirect_enable false\r
environment A=1\r
client_name c\r
status_polling 0\r
refresh_credential 0\r
max_time 3\r
argument y\r
JOB_CREATE_END\r
JOB_STATUS 1\r
QUERY_FEATURES\r
EXIT\r
"""


def _targets() -> Iterator[tuple[str, Target]]:
    yield "gfork", Target(
        _gfork, (),
        (Frame(DATA, 5, -1, b"body").encode() + Frame(OPENED, 6, 7).encode(), Frame(DATA, 1, 2, b"").encode()),
    )
    yield "gfork's configuration", Target(_gfork_configuration, (UsageError,), (GFORK_CONF,))
    yield "gridftp", Target(
        _gridftp, (BadPacket,),
        (
            b"\0" + Registration("[::1]:5000", 3, 4).packet(),
            b"\0" + Registration("kn1:5000").packet(MessageKind.REMOVE),
            b"\1" + memory_limit(1 << 20), b"\2/O=Grid/CN=host/kn1\nsubject: x\n",
        ),
    )
    yield "invoke", Target(_invoke, (), (JOB_CREATE,))
    commission = Commission(
        Credentials(b"ca", b"t", b"c", b"k"), Parent("10.0.0.1", 7, name=None, is_master=True), 3, "", 7, "/tmp/x"
    )
    yield "commission", Target(
        _commission, (ValueError, RecursionError), (commission.encoded().rstrip(b"\0"),)
    )
    yield "host's answer", Target(_host_says, (), (b"gproc-start hello x86_64 0\r\ngproc-start failed 28 no\n",))
    yield "launcher", Target(
        _launcher, (msgspec.DecodeError, UnicodeDecodeError, RecursionError, struct.error),
        (
            b"\0" + framed(SignalProcess(1, 15))[4:], b"\1" + framed(ProgramEnded(1, 2, 0, False))[4:],
            b"\1" + framed(SpawnFailed(1, "exec", 2, "no"))[4:],
        ),
    )
    yield "client", Target(_client, (PeerError,), (_client_seed(),))


SISTERS: Final = dict(_targets())
