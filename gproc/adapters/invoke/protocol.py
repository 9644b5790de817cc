"""Ninf-G's Invoke Server protocol, versions 1 (Ninf-G 4) and 2 (Ninf-G 5): bytes to requests, replies to bytes.  Pure.

A line ends with CR LF; a line that ends with LF alone is read too.  Source: "Invoke Server Developer's Manual" of
Ninf-G 4.2.4 and "External Module Developer's Manual" of Ninf-G 5.0.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, Union

import msgspec

from gproc.shown import shown_text

LINE_BYTES_MAX: Final = 128 << 10
"""MAX_ARG_STRLEN of Linux: execve(2) takes no longer argument."""

REQUEST_BYTES_MAX: Final = 512 << 10
"""All lines of one JOB_CREATE.  The requests of real clients have about 1 KiB."""

REASON_CHARACTERS_MAX: Final = 800
"""With it a line of ours stays below 1,024 bytes in most languages: Ninf-G's clients keep lines in such buffers."""

Attribute = tuple[str, str]
"""A line of JOB_CREATE: its name, and its value, which is the rest of the line after one blank."""

Status = Literal["PENDING", "ACTIVE", "DONE", "FAILED"]


class CreateJob(msgspec.Struct, frozen=True):
    """JOB_CREATE with all of its lines.  request: the client's number for it, as it was written."""

    request: str
    attributes: tuple[Attribute, ...]


class AskStatus(msgspec.Struct, frozen=True):
    job: str


class DestroyJob(msgspec.Struct, frozen=True):
    job: str


class AskFeatures(msgspec.Struct, frozen=True):
    """QUERY_FEATURES, which clients of Ninf-G 5 send first."""


class EndServer(msgspec.Struct, frozen=True):
    """EXIT."""


class BadRequest(msgspec.Struct, frozen=True):
    """Something that is no request.  reason: one clause for the reply."""

    reason: str


InvokeRequest = Union[CreateJob, AskStatus, DestroyJob, AskFeatures, EndServer, BadRequest]  # noqa: UP007


class RequestReader:
    """Bytes in any pieces to requests.  It keeps at most REQUEST_BYTES_MAX and one piece."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False
        self._open: _OpenRequest | None = None

    def feed(self, data: bytes) -> Iterator[InvokeRequest]:
        """The requests that end in these bytes."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            too_long, self._skipping = self._skipping, False
            request = self._too_long() if too_long or len(line) > LINE_BYTES_MAX else self._line(line)
            if request is not None:
                yield request
        self._skipping = self._skipping or len(rest) > LINE_BYTES_MAX
        self._rest = b"" if self._skipping else rest

    def _too_long(self) -> InvokeRequest | None:
        reason = f"a line is longer than {LINE_BYTES_MAX} bytes"
        if self._open is None:
            return BadRequest(reason)
        self._open.fault = self._open.fault or reason
        return None

    def _line(self, raw: bytes) -> InvokeRequest | None:
        text = raw.removesuffix(b"\r").decode("utf-8", "surrogateescape")
        if self._open is None:
            return self._first_line(text)
        if text.strip() != "JOB_CREATE_END":
            self._open.add(text, len(raw))
            return None
        opened, self._open = self._open, None
        return opened.request()

    def _first_line(self, text: str) -> InvokeRequest | None:
        words = text.split()
        match words:
            case []:
                return None
            case ["JOB_CREATE", *rest]:
                self._open = _OpenRequest(rest)
                return None
            case ["JOB_STATUS", job]:
                return AskStatus(job)
            case ["JOB_DESTROY", job]:
                return DestroyJob(job)
            case ["JOB_STATUS" | "JOB_DESTROY" as name, *_]:
                return BadRequest(f"{name} needs one job ID")
            case ["EXIT"]:
                return EndServer()
            case ["QUERY_FEATURES"]:
                return AskFeatures()
            case ["JOB_CREATE_END"]:
                return BadRequest("JOB_CREATE_END without JOB_CREATE")
            case _:
                return BadRequest(f"Unknown Request: {words[0][:40]}")


class _OpenRequest:
    """A JOB_CREATE whose end has not come.  fault: why it will be refused; "" if nothing is wrong so far."""

    def __init__(self, words: Sequence[str]) -> None:
        self.fault = ""
        self._words = words
        self._attributes: list[Attribute] = []
        self._size_bytes = 0
        if len(words) != 1 or not (words[0].isascii() and words[0].isdigit() and len(words[0]) <= 20):
            self.fault = "JOB_CREATE needs one number, the request ID"

    def add(self, text: str, size_bytes: int) -> None:
        self._size_bytes += size_bytes
        if self._size_bytes > REQUEST_BYTES_MAX:
            self.fault = self.fault or f"the request is longer than {REQUEST_BYTES_MAX} bytes"
            self._attributes.clear()
        elif text.strip():
            name, _, value = text.partition(" ")
            self._attributes.append((name, value))

    def request(self) -> InvokeRequest:
        return BadRequest(self.fault) if self.fault else CreateJob(self._words[0], tuple(self._attributes))


FEATURES: Final = (
    "SM", "protocol_version 2.0",
    *(f"request {name}" for name in ("JOB_CREATE", "JOB_STATUS", "JOB_DESTROY", "EXIT", "QUERY_FEATURES")),
    "REPLY_END",
)  # fmt: skip
"""The reply to QUERY_FEATURES.  STAGING_AUTH_NUMBER and STAGING_COMMUNICATION_PROXY are not offered, so no client sends
their attributes.  A node keeps the files of a job in its store, and a secret should not stay there."""


def done(value: str = "") -> bytes:
    """The reply to a request that was carried out."""
    return _lines(f"S {value}" if value else "S")


def failed(reason: str) -> bytes:
    """The reply to a request that was not carried out."""
    return _lines(f"F {_shortened(reason)}")


def features() -> bytes:
    return _lines(*FEATURES)


def created(request: str, job: str) -> bytes:
    """The notify that tells the client the ID of its job."""
    return _lines(f"CREATE_NOTIFY {request} S {job}")


def status_changed(job: str, status: Status, reason: str = "") -> bytes:
    """reason: free text for the client's log.  Ninf-G's Java clients end their reading if there is one."""
    return _lines(f"STATUS_NOTIFY {job} {status} {_shortened(reason)}".rstrip())


def _shortened(reason: str) -> str:
    text = shown_text(" ".join(reason.split()))
    return text if len(text) <= REASON_CHARACTERS_MAX else f"{text[:REASON_CHARACTERS_MAX]}..."


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode(errors="replace")
