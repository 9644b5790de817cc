"""What is found out about the master before nodes are started."""

from __future__ import annotations

import socket
import threading

import pytest

from gproc.start import master


def test_a_name_server_that_does_not_answer_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: done.wait() and [])
    monkeypatch.setattr(master, "RESOLVING_S", 0.01)
    try:
        assert master.address_of("node7") == master.address_towards("node7") == ""
    finally:
        done.set()
