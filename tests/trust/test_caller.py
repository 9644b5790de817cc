from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gproc.errors import TrustError
from gproc.request.spec import Caller
from gproc.trust.caller import SquattedSocket, caller_of, check_listener

NOBODY = 65534


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with listening_at(tmp_path / "g") as listener:
        yield listener


def listening_at(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


def refusal_as_nobody(action: Callable[[], None]) -> str:
    """Why `action` is refused in a child process that runs as nobody; "" if it is not refused."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action()
        except (TrustError, OSError) as error:
            os.write(writing, str(error).encode())
            os._exit(0)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        refusal = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return refusal


def test_the_caller_is_the_one_that_the_kernel_reports(listener: socket.socket, tmp_path: Path) -> None:
    with connect(tmp_path / "g"), listener.accept()[0] as accepted:
        caller = caller_of(accepted)
    assert (caller.uid, caller.gid) == (os.getuid(), os.getgid())
    assert sorted(caller.groups) == sorted(os.getgroups())


@pytest.mark.parametrize("count", [0, 1, 256, 257, 3000])
def test_all_groups_of_a_caller_are_known(tmp_path: Path, root_only: None, count: int) -> None:
    groups = list(range(5000, 5000 + count))
    with listening_at(tmp_path / "g") as listener:
        child = os.fork()
        if child == 0:
            os.setgroups(groups)
            with connect(tmp_path / "g") as connection:
                connection.recv(1)  # live until the caller's groups have been read
            os._exit(0)
        with listener.accept()[0] as accepted:
            assert caller_of(accepted) == Caller(os.getuid(), os.getgid(), tuple(groups))
        os.waitpid(child, 0)


def test_a_user_trusts_their_own_master(listener: socket.socket, tmp_path: Path) -> None:
    with connect(tmp_path / "g") as connection:
        check_listener(connection, str(tmp_path / "g"))


@pytest.fixture
def shared(root_only: None) -> Iterator[Path]:
    """A directory with the mode of /tmp, unlike tmp_path."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        os.chmod(directory, 0o1777)
        yield Path(directory)


def test_every_user_trusts_roots_master(shared: Path) -> None:
    with listening_at(shared / "g"):
        os.chmod(shared / "g", 0o666)
        assert refusal_as_nobody(lambda: check_listener(connect(shared / "g"), str(shared / "g"))) == ""


def test_a_users_own_listener_is_refused_if_a_third_user_owns_its_path(shared: Path) -> None:
    child, _ = squat(shared / "g")
    try:
        assert refusal_as_nobody(lambda: check_listener(connect(shared / "g"), str(shared / "g"))) == ""
        os.lchown(shared / "g", NOBODY - 1, NOBODY - 1)
        os.chmod(shared / "g", 0o666)
        refusal = refusal_as_nobody(lambda: check_listener(connect(shared / "g"), str(shared / "g")))
        assert f"uid {NOBODY - 1}" in refusal
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_squatted_socket_is_refused_and_its_owner_is_named(shared: Path) -> None:
    """Another user listened at the path before the master did."""
    child, ready = squat(shared / "g")
    try:
        assert ready
        with connect(shared / "g") as connection, pytest.raises(SquattedSocket, match=f"uid {NOBODY}"):
            check_listener(connection, str(shared / "g"))
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_a_squatter_is_refused_even_if_chown_gave_the_path_to_root(shared: Path) -> None:
    child, _ = squat(shared / "g")
    try:
        os.lchown(shared / "g", 0, 0)
        with connect(shared / "g") as connection, pytest.raises(SquattedSocket):
            check_listener(connection, str(shared / "g"))
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_another_users_link_to_a_good_socket_is_refused(listener: socket.socket, tmp_path: Path, shared: Path) -> None:
    (shared / "link").symlink_to(tmp_path / "g")
    os.lchown(shared / "link", NOBODY, NOBODY)
    with connect(tmp_path / "g") as connection, pytest.raises(SquattedSocket):
        check_listener(connection, str(shared / "link"))


def test_a_socket_that_vanished_is_not_trusted(listener: socket.socket, tmp_path: Path) -> None:
    with connect(tmp_path / "g") as connection:
        (tmp_path / "g").unlink()
        with pytest.raises(TrustError, match="vanished"):
            check_listener(connection, str(tmp_path / "g"))


def squat(path: Path) -> tuple[int, bool]:
    """A process of user nobody that listens at `path`: its pid, and whether it listens."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with listening_at(path) as listener:
                os.write(writing, b"x")
                while True:
                    listener.accept()
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return child, pipe.read(1) == b"x"
