"""Records on their way to syslog: each is one message, and a log that no program reads stops no daemon."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from gproc.policy import audit
from gproc.policy.audit import PRIORITY, AuditTrail


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """What reads /dev/log."""
    path = str(tmp_path / "log")
    monkeypatch.setattr(audit, "SYSLOG", path)
    reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    reader.bind(path)
    reader.settimeout(50)
    return reader


def test_a_record_is_one_message_of_authpriv_and_printable_ascii(journal: socket.socket) -> None:
    AuditTrail("slave").write("syslog", act="start", argv=["/bin/x", "\n<0>forged: \x1b[2J\u2028"])
    message = journal.recv(1 << 16)
    head, _, text = message.partition(b": ")
    assert head.startswith(b"<%d>gproc[" % PRIORITY)
    assert all(byte == 10 or 32 <= byte < 127 for byte in message)
    assert message.count(b"\n") == 1
    record = json.loads(text)
    assert (record["daemon"], record["act"], record["argv"][0]) == ("slave", "start", "/bin/x")


def test_a_record_that_standard_error_does_not_take_is_complained_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with open("/dev/full", "wb") as full:
        monkeypatch.setattr(audit, "_STDERR", full.fileno())
        AuditTrail("master").write("stderr", act="start")
    assert "cannot write records to stderr: No space left on device" in caplog.messages


def test_a_syslog_that_is_full_or_away_stops_nothing_and_is_complained_of_once(
    journal: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    trail = AuditTrail("master")
    for number in range(2000):
        trail.write("syslog", act="start", job=number)
    journal.close()
    trail.write("syslog", act="end")
    assert [record.message for record in caplog.records if "cannot write records to syslog" in record.message][1:] == []
