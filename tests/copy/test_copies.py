"""Whole copies, with a master and nodes 1, 2 and 1/7."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from gproc.content.manifest import CHUNK_BYTES
from tests.system.cluster import NOBODY, Cluster

ODD = b"odd \xff\n\x1b[2J name"


@pytest.fixture
def place(tree: Cluster, tmp_path: Path) -> Path:
    """A directory on "the nodes", which share this machine's file system; others may look in."""
    for directory in (tmp_path, *tmp_path.parents):
        if str(directory) not in ("/", "/tmp") and directory.stat().st_uid == os.geteuid():
            directory.chmod(directory.stat().st_mode | 0o055)
    return tmp_path


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that takes longer than a tenth of a second to copy.  It has no holes and no zeros, which would cost
    nothing."""
    path = tmp_path_factory.mktemp("long") / "long"
    with path.open("wb") as file:
        for _ in range(512):
            file.write(b"x" * CHUNK_BYTES)
    return path


def copied(tree: Cluster, *words: str) -> None:
    done = tree.command("cp", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def make_tree(at: Path) -> Path:
    (at / "sub").mkdir(parents=True)
    (at / "big").write_bytes(os.urandom(3 * CHUNK_BYTES + 5))
    (at / "sub" / "empty").touch()
    (at / "sub" / "link").symlink_to("../big")
    (at / "hollow").mkdir()
    Path(os.fsdecode(os.fsencode(at) + b"/" + ODD)).write_text("odd\n")
    (at / "sub" / "empty").chmod(0o745)
    for path in (at / "sub" / "link", at / "sub" / "empty", at / "sub", at):
        os.utime(path, ns=(10**18, 10**18 + 1), follow_symlinks=False)
    return at


def differences(one: Path, other: Path) -> str:
    """In names, contents and link targets; "" if there are none."""
    done = subprocess.run(["diff", "-r", "--no-dereference", one, other], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_a_tree_goes_to_a_node_and_comes_back_the_same(tree: Cluster, place: Path) -> None:
    source = make_tree(place / "source")
    copied(tree, str(source), f"=1/7:{place}/there")
    done = tree.command("get", f"=1/7:{place}/there", str(place / "home"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    home = place / "home" / "1.7" / "there"
    for copy in (place / "there", home):
        assert differences(source, copy) == ""
        for path in (".", "sub", "sub/link", "sub/empty", "hollow", "big", os.fsdecode(ODD)):
            was, now = (source / path).lstat(), (copy / path).lstat()
            assert (now.st_mode, now.st_mtime_ns, now.st_uid) == (was.st_mode, was.st_mtime_ns, was.st_uid), path


def test_a_file_that_is_there_already_is_left_alone(tree: Cluster, place: Path) -> None:
    source = make_tree(place / "source")
    copied(tree, str(source), f"1:{place}/there")
    inode = (place / "there" / "big").stat().st_ino
    copied(tree, f"{source}/.", f"1:{place}/there")
    assert (place / "there" / "big").stat().st_ino == inode
    (source / "big").write_bytes(b"changed")
    copied(tree, f"{source}/.", f"1:{place}/there")
    assert (place / "there" / "big").read_bytes() == b"changed"


def test_every_node_gets_it_and_each_is_brought_back_apart(tree: Cluster, place: Path) -> None:
    (place / "file").write_text("x" * 100)
    (place / "there").mkdir()
    copied(tree, str(place / "file"), f"./.:{place}/there/")
    done = tree.command("get", f"./.:{place}/there/.", str(place / "home"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(os.listdir(place / "home")) == ["1", "1.7", "2"]
    assert all((place / "home" / node / "file").read_text() == "x" * 100 for node in ("1", "1.7", "2"))


def test_excluded_nodes_are_left_out(tree: Cluster, place: Path) -> None:
    (place / "file").write_text("x")
    done = tree.command("get", "--exclude", "1/.", f"./.:{place}/file", str(place / "home"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(os.listdir(place / "home")) == ["1", "2"]


def test_excluded_nodes_get_no_copy(tree: Cluster, place: Path) -> None:
    (place / "file").write_text("x")
    done = tree.command("cp", "--exclude", ".,1/.", str(place / "file"), f"./.:{place}/copy")
    assert done.returncode == 125
    assert b"no connected node fits ./. without .,1/." in done.stderr
    assert not (place / "copy").exists()


def test_a_failure_is_reported_once_for_all_nodes_and_the_rest_is_copied(tree: Cluster, place: Path) -> None:
    source = make_tree(place / "source")
    (place / "there" / "big").mkdir(parents=True)
    done = tree.command("cp", f"{source}/.", f"./.:{place}/there")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"gproc: 1-2,=1/7: {place}/there/big: is a directory, which only a directory can replace",
        "gproc: 1-2,=1/7: not everything was copied",
    ]
    assert (place / "there" / "sub" / "empty").exists()


def test_a_link_on_the_node_is_not_followed_out_of_the_destination(tree: Cluster, place: Path) -> None:
    source = make_tree(place / "source")
    (place / "outside").mkdir()
    (place / "victim").write_text("mine")
    (place / "there").mkdir()
    (place / "there" / "sub").symlink_to(place / "outside")
    (place / "there" / "big").symlink_to(place / "victim")
    done = tree.command("cp", f"{source}/.", f"1:{place}/there")
    assert done.returncode == 1
    assert f"{place}/there/sub: not a directory, or a link" in done.stderr.decode()
    assert os.listdir(place / "outside") == []
    assert (place / "victim").read_text() == "mine"
    assert (place / "there" / "big").read_bytes() == (source / "big").read_bytes()


def test_missing_files_are_named_by_node(tree: Cluster, place: Path) -> None:
    done = tree.command("get", f".:{place}/missing", str(place / "home"))
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"gproc: 1-2: {place}/missing: No such file or directory",
        "gproc: 1-2: not everything was copied",
    ]


def test_files_without_a_size_are_brought_back_with_their_content(tree: Cluster, place: Path) -> None:
    for path in ("/proc/version", "/proc/sys/kernel/ostype"):
        done = tree.command("get", f"1:{path}", str(place / "home"))
        assert (done.returncode, done.stderr) == (0, b"")
        assert (place / "home" / "1" / Path(path).name).read_text() == Path(path).read_text()


def test_a_file_that_cannot_be_written_here_is_named_and_the_rest_comes(tree: Cluster, place: Path) -> None:
    make_tree(place / "source")
    (place / "home" / "1" / "source").mkdir(parents=True)
    (place / "home" / "1" / "source" / "big").write_text("old")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (CHUNK_BYTES, CHUNK_BYTES))

    done = tree.command("get", f"1:{place}/source", str(place / "home"), preexec_fn=limited)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"gproc: 1: {place}/home/1/source/big: File too large",
        "gproc: 1: not everything was copied",
    ]
    assert (place / "home" / "1" / "source" / "big").read_text() == "old"
    assert sorted(os.listdir(place / "home" / "1" / "source")) == sorted(os.listdir(place / "source"))


def test_a_node_that_is_not_connected_is_named(tree: Cluster, place: Path) -> None:
    (place / "file").write_text("x")
    done = tree.command("cp", str(place / "file"), f"1,9:{place}/there")
    assert (done.returncode, done.stderr) == (125, b"gproc: 9: not connected\n")
    assert (place / "there").read_text() == "x"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cp", "1:/x"), "NODES:DEST is missing"),
        (("cp", "a", "/x"), "names no nodes"),
        (("cp", "a", "1:x"), "an absolute path is wanted"),
        (("cp", "a", "1:"), "an absolute path is wanted"),
        (("cp", "a", "5-1:/x"), "node specification"),
        (("cp", "a", "b/a", "1:/x"), "would both be a"),
        (("cp", "1:/x", "d"), "to copy 1:/x here: gproc get 1:/x d"),
        (("get", "/x", "d"), "names no nodes"),
        (("get", "a", "1:/x"), "to copy a to nodes: gproc cp a 1:/x"),
        (("get", "1:/x"), "DIR is missing"),
        (("get", "1:/x", "d", "e"), "one word too many"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(tree: Cluster, words: tuple[str, ...], said: str) -> None:
    (tree.work / "a").write_text("a")
    (tree.work / "b").mkdir(exist_ok=True)
    (tree.work / "b" / "a").write_text("b")
    done = tree.command(*words)
    assert done.returncode == 2
    assert said in done.stderr.decode()


def test_nothing_can_be_put_into_bin_root(tree: Cluster, place: Path) -> None:
    (place / "file").write_text("x")
    done = tree.command("cp", str(place / "file"), f"1:{tree.slaves[0].bin_root}/file")
    assert done.returncode == 125
    assert "this is in binRoot" in done.stderr.decode()


@pytest.mark.usefixtures("root_only")
def test_another_users_copy_is_his_own_and_has_his_rights_alone(tree: Cluster, place: Path) -> None:
    source = make_tree(place / "source")
    (source / "big").chmod(0o4755)
    (place / "his").mkdir()
    os.chown(place / "his", NOBODY, NOBODY)
    (place / "roots").mkdir()
    done = tree.command("cp", str(source), f"1:{place}/his/", uid=NOBODY)
    assert (done.returncode, done.stderr) == (0, b"")
    big = (place / "his" / "source" / "big").stat()
    assert (big.st_uid, big.st_gid, stat.S_IMODE(big.st_mode)) == (NOBODY, NOBODY, 0o755)
    assert big.st_mtime_ns == (source / "big").stat().st_mtime_ns
    assert (place / "his" / "source" / "sub" / "link").lstat().st_uid == NOBODY
    done = tree.command("cp", str(source / "sub"), f"1:{place}/roots", uid=NOBODY)
    assert (done.returncode, os.listdir(place / "roots")) == (1, [])
    assert f"1: {place}/roots/sub: Permission denied" in done.stderr.decode()


@pytest.mark.usefixtures("root_only")
def test_a_user_gets_no_file_that_this_user_may_not_read(tree: Cluster, place: Path) -> None:
    (place / "tree").mkdir()
    (place / "tree" / "open").write_text("open")
    (place / "tree" / "secret").write_text("secret")
    (place / "tree" / "secret").chmod(0o600)
    (place / "home").mkdir()
    os.chown(place / "home", NOBODY, NOBODY)
    done = tree.command("get", f"1:{place}/tree", str(place / "home"), uid=NOBODY)
    assert done.returncode == 1
    assert f"1: {place}/tree/secret: Permission denied" in done.stderr.decode()
    assert os.listdir(place / "home" / "1" / "tree") == ["open"]
    assert (place / "home" / "1" / "tree" / "open").stat().st_uid == NOBODY


@pytest.mark.usefixtures("root_only")
def test_roots_copy_keeps_owners_by_number_and_set_id_bits(tree: Cluster, place: Path) -> None:
    (place / "file").write_text("x")
    os.chown(place / "file", 1234, 4321)
    (place / "file").chmod(0o4711)
    copied(tree, str(place / "file"), f"1:{place}/there")
    found = (place / "there").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o4711)
    tree.command("get", f"1:{place}/there", str(place / "home"))
    found = (place / "home" / "1" / "there").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o711)


@pytest.mark.usefixtures("root_only")
def test_a_slave_of_another_user_copies_for_him(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cluster = Cluster(tmp_path_factory.mktemp("his") / "c")
    cluster.start_master()
    home = cluster.place / "node"
    subprocess.run(["cp", "-a", cluster.home, home], check=True)
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", home], check=True)
    cluster.slave(1, uid=NOBODY, home=home)
    source = make_tree(place / "source")
    (place / "his").mkdir()
    os.chown(place / "his", NOBODY, NOBODY)
    done = cluster.command("cp", str(source), f"1:{place}/his/", uid=NOBODY)
    assert (done.returncode, done.stderr) == (0, b"")
    assert differences(source, place / "his" / "source") == ""
    done = cluster.command("get", f"1:{place}/his/source", str(place / "his" / "home"), uid=NOBODY)
    assert (done.returncode, done.stderr) == (0, b"")
    assert differences(source, place / "his" / "home" / "1" / "source") == ""
    cluster.stop()


def test_a_plain_slave_copies_too(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cluster = Cluster(tmp_path_factory.mktemp("plain") / "c")
    cluster.start_master()
    cluster.slave(1, "-p=false")
    source = make_tree(place / "source")
    copied(cluster, str(source), f"1:{place}/there")
    assert differences(source, place / "there") == ""
    done = cluster.command("get", f"1:{place}/there", str(place / "home"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert differences(source, place / "home" / "1" / "there") == ""
    cluster.stop()


def test_a_time_limit_ends_what_takes_longer(tree: Cluster, place: Path, long: Path) -> None:
    done = tree.command("get", "--timeout", "0.1", f"1:{long}", str(place / "home"))
    assert done.returncode == 124
    assert list(place.glob("home/*/*")) == []


def test_an_interrupted_copy_home_leaves_the_old_file(tree: Cluster, place: Path, long: Path) -> None:
    (place / "home" / "1").mkdir(parents=True)
    (place / "home" / "1" / "long").write_text("old")
    process = tree.begin("get", f"1:{long}", str(place / "home"))
    while len(os.listdir(place / "home" / "1")) == 1:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    status, _, _ = tree.finish(process)
    assert status == 128 + signal.SIGINT
    assert os.listdir(place / "home" / "1") == ["long"]
    assert (place / "home" / "1" / "long").read_text() == "old"
    tree.nothing_runs()


def test_a_time_limit_ends_a_copy_to_nodes_that_takes_longer(tree: Cluster, place: Path, long: Path) -> None:
    done = tree.command("cp", "--timeout", "0.1", str(long), f"1:{place}/there")
    assert done.returncode == 124
    assert os.listdir(place) == []
