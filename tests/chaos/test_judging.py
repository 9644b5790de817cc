"""How the works of a campaign read what commands say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.chaos.works import NOT_CONNECTED, Writing


def test_a_command_none_of_whose_nodes_was_connected_has_an_end_on_each() -> None:
    """Such a command has no summary, and "1 has no end" was said of it: seed 12."""
    work: Any = Writing.__new__(Writing)
    work.cluster = SimpleNamespace(paths=("1", "2", "1/1", "1/2"))
    assert work.endings("gproc: not connected: 1,=1/1-2\n") == dict.fromkeys(("1", "1/1", "1/2"), NOT_CONNECTED)
