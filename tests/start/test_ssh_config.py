"""The user's ssh_config, of which gproc's own ssh knows less than ssh(1)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gproc.start.ssh import SshFailed, Ways, open_channel


def test_what_cannot_be_read_was_called_a_bug_of_gproc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text('Match exec "test a = b"\n')
    told = f"{tmp_path}/.ssh/config line 1: .*: gproc's own ssh cannot use that; --ssh-command ssh takes yours"
    with pytest.raises(SshFailed, match=told):
        asyncio.run(open_channel("127.0.0.1", "true", Ways()))
