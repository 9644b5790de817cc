"""Unix sockets that are made in a process with threads."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from gproc.disk.sockets import bind_with_mode
from gproc.service.listening import listeners
from gproc.web.serving import Listen, open_listener


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777], ids=oct)
def test_a_socket_is_made_without_a_moment_in_which_other_threads_have_another_umask(
    tmp_path: Path, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master at work makes its socket again: a directory that a thread made just then was 0600, and of no use."""
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patched:
            patched.delattr(os, "umask")
            (made,) = listeners(str(tmp_path / "master"))
            web = open_listener(Listen(path=str(tmp_path / "web")))
    finally:
        os.umask(before)
    with made.socket, web:
        assert stat.S_IMODE((tmp_path / "master").stat().st_mode) == (0o666 if os.geteuid() == 0 else 0o600)
        assert stat.S_IMODE((tmp_path / "web").stat().st_mode) == 0o600
        assert made.is_there


def test_nobody_may_connect_before_the_socket_has_its_mode(tmp_path: Path) -> None:
    """What bind(2) makes has the mode already: only bits that the umask took come later."""
    with socket.socket(socket.AF_UNIX) as made:
        os.fchmod(made.fileno(), 0o600)
        made.bind(str(tmp_path / "one"))
        assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600


def test_what_is_there_already_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("of somebody else")
    with socket.socket(socket.AF_UNIX) as made, pytest.raises(OSError, match="in use"):
        bind_with_mode(made, str(tmp_path / "one"), 0o600)
    assert (tmp_path / "one").read_text() == "of somebody else"
