"""The lines of the Invoke Server protocol: bytes to requests, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.adapters.invoke import protocol
from gproc.adapters.invoke.protocol import (
    LINE_BYTES_MAX,
    REQUEST_BYTES_MAX,
    AskFeatures,
    AskStatus,
    BadRequest,
    CreateJob,
    DestroyJob,
    EndServer,
    InvokeRequest,
    RequestReader,
)

CREATE = b"JOB_CREATE 7\r\nhostname kn1\r\nargument --a b \r\nargument\r\n\r\nJOB_CREATE_END\r\n"
CREATED = CreateJob("7", (("hostname", "kn1"), ("argument", "--a b "), ("argument", "")))
CONVERSATION = b"QUERY_FEATURES\r\n" + CREATE + b"\r\nJOB_STATUS a-1\r\nJOB_DESTROY a-1 \r\nwhat\r\nEXIT\r\n"
ASKED = [
    AskFeatures(), CREATED, AskStatus("a-1"), DestroyJob("a-1"), BadRequest("Unknown Request: what"), EndServer(),
]  # fmt: skip


def read(data: bytes, sizes: list[int] | None = None) -> list[InvokeRequest]:
    reader = RequestReader()
    found: list[InvokeRequest] = []
    for size in sizes or []:
        found += reader.feed(data[:size])
        data = data[size:]
    return [*found, *reader.feed(data)]


@given(st.lists(st.integers(0, 9)))
def test_lines_may_be_split_anywhere(sizes: list[int]) -> None:
    assert read(CONVERSATION, sizes) == ASKED


def test_lines_may_end_with_a_line_feed_alone() -> None:
    assert read(CONVERSATION.replace(b"\r", b"")) == ASKED


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"JOB_STATUS", "one job ID"),
        (b"JOB_DESTROY a b", "one job ID"),
        (b"JOB_CREATE_END", "without JOB_CREATE"),
        (b"JOB_CREATE_DONE", "Unknown Request"),
        (b"\xff\x00\x1b[2J", "Unknown Request"),
        (b"job_status a", "Unknown Request"),
        (b"x" * (LINE_BYTES_MAX + 1), "a line is longer"),
        (b"JOB_CREATE\r\nhostname a\r\nJOB_CREATE_END", "the request ID"),
        (b"JOB_CREATE one\r\nJOB_CREATE_END", "the request ID"),
        (b"JOB_CREATE 1 2\r\nJOB_CREATE_END", "the request ID"),
        (b"JOB_CREATE 1\r\nargument " + b"x" * LINE_BYTES_MAX + b"\r\nJOB_CREATE_END", "a line is longer"),
        (b"JOB_CREATE 1\r\n" + b"argument y\r\n" * (REQUEST_BYTES_MAX // 10) + b"JOB_CREATE_END", "request is longer"),
    ],
)
@pytest.mark.parametrize("size", [1 << 16, 1 << 24])
def test_what_is_no_request_has_one_answer_and_the_next_one_is_read(line: bytes, reason: str, size: int) -> None:
    data = line + b"\r\n" + CREATE
    bad, good = read(data, [size] * (len(data) // size))
    assert isinstance(bad, BadRequest)
    assert reason in bad.reason
    assert good == CREATED


@given(st.binary(max_size=300), st.lists(st.integers(1, 40)))
def test_garbage_never_breaks_the_reader(data: bytes, sizes: list[int]) -> None:
    assert read(data + b"\r\nJOB_CREATE_END\r\nEXIT\r\n", sizes)[-1] == EndServer()


@given(st.binary(max_size=300_000))
def test_a_reader_keeps_no_more_than_a_line(data: bytes) -> None:
    reader = RequestReader()
    for _ in range(3):
        list(reader.feed(data.replace(b"\n", b"")))
        assert len(reader._rest) <= LINE_BYTES_MAX


@given(st.text(max_size=2000))
def test_whatever_a_reason_holds_it_stays_one_line(reason: str) -> None:
    for line in (protocol.failed(reason), protocol.status_changed("a-1", "FAILED", reason)):
        assert line.endswith(b"\r\n")
        assert line.count(b"\n") == line.count(b"\r") == 1
        assert all(each >= 32 for each in line[:-2])


def test_replies_and_notifies_are_those_of_the_manual() -> None:
    assert protocol.done() == b"S\r\n"
    assert protocol.done("ACTIVE") == b"S ACTIVE\r\n"
    assert protocol.failed("no\nsuch job") == b"F no such job\r\n"
    assert protocol.created("3", "a-1") == b"CREATE_NOTIFY 3 S a-1\r\n"
    assert protocol.status_changed("a-1", "DONE") == b"STATUS_NOTIFY a-1 DONE\r\n"
    lines = protocol.features().decode().split("\r\n")
    assert lines[:2] == ["SM", "protocol_version 2.0"]
    assert lines[-2:] == ["REPLY_END", ""]
