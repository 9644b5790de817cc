"""One file that cannot be copied: the rest is copied all the same, each failure is named once, and the status is 1."""

from __future__ import annotations

import os
import select
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from gproc.content.manifest import CHUNK_BYTES
from tests.system.cluster import NOBODY, Cluster


def lines(stderr: bytes) -> list[str]:
    return stderr.decode().splitlines()


def test_a_source_that_is_missing_is_named_and_the_others_are_copied(tree: Cluster, place: Path) -> None:
    (place / "a").write_text("a")
    (place / "d").mkdir()
    done = tree.command("cp", f"{place}/none", f"{place}/a", f"./.:{place}/d/")
    assert (done.returncode, lines(done.stderr)) == (1, [f"gproc: {place}/none: No such file or directory"])
    assert (place / "d" / "a").read_text() == "a"


def test_if_no_source_can_be_read_nothing_is_asked_of_any_node(tree: Cluster, place: Path) -> None:
    done = tree.command("cp", f"{place}/none", f"{place}/neither", f"1:{place}/d/")
    assert done.returncode == 1
    assert [line.rpartition("/")[2] for line in lines(done.stderr)] == [
        "none: No such file or directory", "neither: No such file or directory",
    ]  # fmt: skip


@pytest.mark.usefixtures("root_only")
@pytest.mark.parametrize("verb", ["cp", "get"])
def test_files_and_directories_that_may_not_be_read_are_left_out_and_named_once(
    tree: Cluster, place: Path, verb: str
) -> None:
    source = place / "source"
    (source / "closed").mkdir(parents=True)
    (source / "closed" / "in it").write_text("x")
    (source / "closed").chmod(0)
    for name in ("one", "secret", "two"):
        (source / name).write_text(name)
    (source / "secret").chmod(0)
    (place / "his").mkdir()
    os.chown(place / "his", NOBODY, NOBODY)
    if verb == "cp":
        done = tree.command("cp", str(source), f"./.:{place}/his/", uid=NOBODY)
        copy, expected = place / "his" / "source", []
    else:
        done = tree.command("get", f"1:{source}", f"{place}/his/home", uid=NOBODY)
        copy, expected = place / "his" / "home" / "1" / "source", ["gproc: 1: not everything was copied"]
    prefix = "gproc: " if verb == "cp" else "gproc: 1: "
    named = [f"{prefix}{source}/{name}: Permission denied" for name in ("secret", "closed")]
    assert (done.returncode, lines(done.stderr)) == (1, [*named, *expected])
    assert sorted(path.name for path in copy.iterdir() if path.is_file()) == ["one", "two"]


def test_get_names_what_it_does_not_bring_and_brings_the_rest(tree: Cluster, place: Path) -> None:
    (place / "source").mkdir()
    os.mkfifo(place / "source" / "pipe")
    (place / "source" / "file").write_text("x")
    with socket.socket(socket.AF_UNIX) as listener:
        old = os.getcwd()
        os.chdir(place / "source")
        listener.bind("socket")
        os.chdir(old)
    done = tree.command("get", f"1:{place}/source", str(place / "home"))
    assert done.returncode == 1
    assert lines(done.stderr) == [
        f"gproc: 1: {place}/source/pipe: is a FIFO: only files, directories and links are brought back",
        f"gproc: 1: {place}/source/socket: is a socket: only files, directories and links are brought back",
        "gproc: 1: not everything was copied",
    ]
    assert os.listdir(place / "home" / "1" / "source") == ["file"]


def test_a_name_that_two_sources_share_is_refused_before_anything_is_said_or_sent(tree: Cluster, place: Path) -> None:
    (place / "b").mkdir()
    for path in (place / "a", place / "b" / "a"):
        path.write_text("x")
    done = tree.command("cp", f"{place}/none", f"{place}/a", f"{place}/b/a", f"1:{place}/b/")
    assert done.returncode == 2
    assert len(lines(done.stderr)) == 1


def test_every_failure_on_a_node_is_named(tree: Cluster, place: Path) -> None:
    for number in range(120):
        (place / "source").mkdir(exist_ok=True)
        (place / "source" / f"{number:03}").write_text("x")
        (place / "there" / f"{number:03}").mkdir(parents=True)
    (place / "source" / "last").write_text("x")
    done = tree.command("cp", f"{place}/source/.", f"./.:{place}/there")
    assert done.returncode == 1
    told = lines(done.stderr)
    assert told == [
        *(f"gproc: 1-2: {place}/there/{number:03}: is a directory, which only a directory can replace"
          for number in range(120)),
        "gproc: 1-2: not everything was copied",
    ]  # fmt: skip
    assert (place / "there" / "last").read_text() == "x"


def pass_on(near: socket.socket, path: str) -> None:
    """Pass a connection on to the master's socket, to its end."""
    with near, socket.socket(socket.AF_UNIX) as far:
        far.connect(path)
        while True:
            for ready in select.select([near, far], [], [])[0]:
                if not (data := ready.recv(1 << 16)):
                    return
                (far if ready is near else near).sendall(data)


def test_a_file_that_changes_after_it_was_packed_is_left_out_and_the_rest_is_copied(tree: Cluster, place: Path) -> None:
    source = place / "source"
    source.mkdir()
    (source / "steady").write_bytes(os.urandom(3 * CHUNK_BYTES))
    (source / "restless").write_bytes(os.urandom(4 * CHUNK_BYTES))
    (place / "there").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place / "socket"))
    listener.listen()

    def serve() -> None:
        """A copy asks whether a master is there, packs, and connects again to send."""
        with suppress(OSError):
            pass_on(listener.accept()[0], str(tree.socket))
            sending, _ = listener.accept()
            (source / "restless").write_bytes(os.urandom(4 * CHUNK_BYTES))
            pass_on(sending, str(tree.socket))
            while True:
                pass_on(listener.accept()[0], str(tree.socket))

    server = threading.Thread(target=serve)
    server.start()
    process = tree.begin("cp", "--socket", str(place / "socket"), str(source), f"1:{place}/there")
    status, _, stderr = tree.finish(process)
    assert (status, stderr.splitlines()) == (
        1, [f"gproc: {source}/restless: changed while it was being sent; copy it again when nothing writes to it"],
    )  # fmt: skip
    assert (place / "there" / "source" / "steady").read_bytes() == (source / "steady").read_bytes()
    assert not (place / "there" / "source" / "restless").exists()
    listener.shutdown(socket.SHUT_RDWR)
    server.join()
    listener.close()
