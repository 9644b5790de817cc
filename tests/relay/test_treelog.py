"""A host that comes and goes without end does not fill the disk by its lines in the log."""

from __future__ import annotations

import logging

import pytest

from gproc.relay import treelog
from gproc.relay.treelog import TreeLog


def test_a_host_has_so_many_lines_and_then_one_each_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(treelog, "LINES_OF_HOST", 5)
    now_s = 100.0
    log = TreeLog(lambda: now_s)
    with caplog.at_level(logging.INFO, logger="gproc"):
        for number in range(20):
            log.say(logging.INFO, "kn1", "%d", number)
        log.say(logging.WARNING, "kn2", "another")
        now_s += 1
        log.say(logging.INFO, "kn1", "%d", 20)
        log.say(logging.INFO, "kn1", "%d", 21)
    often = "kn1 comes and goes too often: only one line each second is in this log from now on"
    assert caplog.messages == ["0", "1", "2", "3", "4", often, "another", "20"]
