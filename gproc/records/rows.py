"""A record as a row of the database, and back.  Pure."""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from gproc.nodespec import Place
from gproc.records.record import CommonEnd, KeptJob, KeptState, TaskNotes

COMPRESSED_BYTES: Final = 512
"""Places and outcomes of more bytes are compressed: 5,000 places in a row are 22 KB, and 5 KB then."""

UNPACKED_BYTES_MAX: Final = 64 << 20
"""A value of a database that is damaged must not fill the memory."""

JobCells = tuple[int, str, int, bytes, str, bytes, str, str, int | None, int, int, float, float, bytes, int, int]

COLUMNS: Final = (
    "number", "name", "uid", "argv", "nodes", "places", "missing", "state", "status", "detached", "spooled",
    "started_s", "ended_s", "endings", "stdout_bytes", "stderr_bytes",
)  # fmt: skip

BriefRow = tuple[int, str, int, bytes, str, str, int | None, float, float]

BRIEF_COLUMNS: Final = ("number", "name", "uid", "argv", "nodes", "state", "status", "started_s", "ended_s")
"""What a table of jobs shows: places and outcomes of 10,000 jobs would cost more to read than all of these."""

_PLAIN: Final = b"\0"
_COMPRESSED: Final = b"\1"

_encoder: Final = msgspec.msgpack.Encoder()
_places_decoder: Final = msgspec.msgpack.Decoder(tuple[tuple[int, ...], ...])
_endings_decoder: Final = msgspec.msgpack.Decoder(tuple[CommonEnd, ...])
_notes_decoder: Final = msgspec.msgpack.Decoder(TaskNotes)
_argv_decoder: Final = msgspec.msgpack.Decoder(tuple[bytes, ...])


def row_of(record: KeptJob) -> JobCells:
    return (
        record.number, record.name, record.uid, _packed(record.argv), record.nodes, _packed(record.places),
        record.missing, record.state, record.status(), record.detached, record.spooled, record.started_s,
        record.ended_s, _packed(record.endings), record.stdout_bytes, record.stderr_bytes,
    )  # fmt: skip


def brief_of(record: KeptJob) -> BriefRow:
    return (
        record.number, record.name, record.uid, _packed(record.argv), record.nodes, record.state, record.status(),
        record.started_s, record.ended_s,
    )  # fmt: skip


def record_of(row: JobCells) -> KeptJob:
    """Raises: ValueError if it is none."""
    (
        number, name, uid, argv, nodes, places, missing, state, _, detached, spooled, started_s, ended_s, endings,
        stdout_bytes, stderr_bytes,
    ) = row  # fmt: skip
    return KeptJob(
        number=number,
        name=name,
        uid=uid,
        argv=argv_of(argv),
        nodes=nodes,
        places=tuple(Place(place) for place in _places_decoder.decode(_unpacked(places))),
        missing=missing,
        state=msgspec.convert(state, KeptState),
        detached=bool(detached),
        spooled=bool(spooled),
        started_s=started_s,
        ended_s=ended_s,
        endings=_endings_decoder.decode(_unpacked(endings)),
        stdout_bytes=stdout_bytes,
        stderr_bytes=stderr_bytes,
    )


def argv_of(packed: bytes) -> tuple[bytes, ...]:
    """Raises: ValueError."""
    return _argv_decoder.decode(_unpacked(packed))


def packed_notes(notes: TaskNotes) -> bytes:
    return _packed(notes)


def notes_of(packed: bytes) -> TaskNotes:
    """Raises: ValueError."""
    return _notes_decoder.decode(_unpacked(packed))


def _packed(value: object) -> bytes:
    data = _encoder.encode(value)
    return _PLAIN + data if len(data) <= COMPRESSED_BYTES else _COMPRESSED + zlib.compress(data, 1)


def _unpacked(data: bytes) -> bytes:
    if data[:1] == _PLAIN:
        return data[1:]
    try:
        return zlib.decompressobj().decompress(data[1:], UNPACKED_BYTES_MAX)
    except zlib.error as error:
        raise ValueError(str(error)) from error
