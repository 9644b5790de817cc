"""A slave that is root makes, copies and removes nothing at a path that a user chose."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from gproc.disk.trees import make_directory, remove_tree
from gproc.root.view import CopyTree, MakeDirectory, Proc, Tmpfs, View
from gproc.wire import frames
from tests.attack.peer import dial_unix
from tests.attack.target import unchecked
from tests.launch.conftest import USER, Node, bin_root, init, node, nodes, sanitized, tmp_path
from tests.system.cluster import Cluster

__all__ = ["bin_root", "init", "node", "nodes", "sanitized", "tmp_path"]

SWAPPERS: Final = 200
"""Trees that are removed while a user exchanges directories for links; the first release lost within 100 of them."""


@pytest.fixture
def plain_root(bin_root: Path, init: str) -> Iterator[Node]:
    """A node without views whose slave is root."""
    if os.getuid() != 0:
        pytest.skip("needs root")
    node = Node("plain", 0, bin_root, init)
    yield node
    node.close()


@pytest.mark.parametrize("cwd", [b"/../../../etc/x.d", b"/..", b"/a/../../b", b"/a/./b", b"//a", b"/a/", b"relative"])
def test_a_working_directory_that_leads_elsewhere_is_refused(cluster: Cluster, cwd: bytes) -> None:
    with dial_unix(cluster.socket).greet(frames.CHANNEL_CLIENT) as peer:
        peer.raw(unchecked(cwd=cwd)).hear_the_end()
    cluster.master.says(r"refused a client of uid \d+: not a message of a client: the working directory .* is not ")


@pytest.mark.parametrize("cwd", [b"/../made", b"/there/../../made", b"/../../../../../../../../tmp/made"])
def test_no_working_directory_is_made_outside_of_the_jobs_own_root(node: Node, cwd: bytes) -> None:
    """As the first release's master would have sent it."""
    bin_root = Path(os.fsdecode(node.bin_root))
    if node.kind == "plain":
        view = View("plain", (), b"/bin/true", b"/", root=node.bin_root + b"/7.1")
        view = View("plain", (), b"/bin/true", view.root + cwd, root=view.root)
    else:
        mounts = (Tmpfs(node.bin_root), MakeDirectory(node.bin_root, cwd), Proc(b"/proc"))
        view = View("namespaces", mounts, b"/bin/true", b"/")
    failure = node.run("/bin/true", view=view, uid=node.uid or USER).failure
    assert failure.stage == "view"
    assert "'..' is no part of a directory's name" in failure.message
    assert not (bin_root.parent / "made").exists()
    assert not (bin_root / "made").exists()
    assert not Path("/tmp/made").exists()


def test_no_working_directory_is_made_through_a_link(bin_root: Path) -> None:
    outside = bin_root.parent / "outside"
    outside.mkdir()
    (bin_root / "data").symlink_to(outside)
    with pytest.raises(NotADirectoryError, match="a link"):
        make_directory(os.fsencode(bin_root), b"/data/x", USER, USER)
    assert list(outside.iterdir()) == []


SWAP_FILES: Final = """
import os, sys
bin_root, target, uid = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
os.write(1, b"ready")
while True:
    for job in os.listdir(bin_root):
        root = os.path.join(bin_root, job)
        try:
            for name in os.listdir(root):
                os.unlink(os.path.join(root, name))
                os.symlink(target, os.path.join(root, name))
        except OSError:
            pass
"""


def test_a_plain_jobs_user_cannot_swap_files_for_links_while_root_copies(plain_root: Node, bin_root: Path) -> None:
    """The attack of the first release: the mode of the file behind the link became that of the bundle's file."""
    precious = bin_root.parent / "precious"
    precious.write_text("root's own")
    precious.chmod(0o600)
    source = bin_root.parent / "source"
    source.mkdir()
    for number in range(1000):
        (source / f"{number}").write_bytes(b"x")
        (source / f"{number}").chmod(0o777)
    source.chmod(0o777)
    for each in (source, *source.iterdir()):
        os.chown(each, USER, USER)
    attacker = subprocess.Popen(
        [sys.executable, "-I", "-c", SWAP_FILES, str(bin_root), str(precious), str(USER)], stdout=subprocess.PIPE
    )
    try:
        assert attacker.stdout is not None
        assert attacker.stdout.read(5) == b"ready"
        for job in range(2):
            root = plain_root.bin_root + b"/7.%d" % job
            view = View("plain", (), b"/bin/true", b"/", root=root, source=os.fsencode(source))
            plain_root.run("/bin/true", view=view, uid=USER)
            assert stat.S_IMODE(precious.stat().st_mode) == 0o600
            assert precious.stat().st_uid == 0
    finally:
        attacker.kill()
        attacker.communicate()
    assert precious.read_text() == "root's own"


SWAP_DIRECTORIES: Final = """
import ctypes, os, sys
top, target, uid = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
exchange = ctypes.CDLL(None).renameat2
link = os.fsencode(top + "/link")
os.write(1, b"ready")
turn = 0
while True:
    for name in os.listdir(top + "/trees"):
        for number in range(40):
            there = os.fsencode(f"{top}/trees/{name}/{number}")
            if not os.path.islink(link):
                turn += 1
                link = os.fsencode(f"{top}/link{turn}")
                os.symlink(target, link)
            while exchange(-100, link, -100, there, 2) == 0:
                pass
"""


def test_removal_follows_no_link_that_a_user_exchanges_for_a_directory(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to be another user for a moment")
    if not hasattr(ctypes.CDLL(None), "renameat2"):
        pytest.skip("needs renameat2(2)")
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o750)
    (precious / "kept").write_text("root's own")
    top = tmp_path / "top"
    (top / "trees").mkdir(parents=True)
    for each in (top, top / "trees"):
        os.chown(each, USER, USER)
    attacker = subprocess.Popen(
        [sys.executable, "-I", "-c", SWAP_DIRECTORIES, str(top), str(precious), str(USER)], stdout=subprocess.PIPE
    )
    try:
        assert attacker.stdout is not None
        assert attacker.stdout.read(5) == b"ready"
        for number in range(SWAPPERS):
            tree = top / "trees" / str(number)
            tree.mkdir()
            os.chown(tree, USER, USER)
            for name in range(40):
                (tree / str(name)).mkdir()
                os.chown(tree / str(name), USER, USER)
            remove_tree(os.fsencode(tree))
            assert stat.S_IMODE(precious.stat().st_mode) == 0o750
    finally:
        attacker.kill()
        attacker.communicate()
    assert (precious / "kept").read_text() == "root's own"


def test_a_plain_job_that_leaves_a_very_deep_tree_harms_no_other_job(plain_root: Node, bin_root: Path) -> None:
    deep = "import os\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\n"
    root = plain_root.bin_root + b"/7.1"
    view = View("plain", (), os.fsencode(sys.executable), root, root=root)
    plain_root.run(sys.executable, "-I", "-c", deep, view=view, uid=0)
    assert list(bin_root.iterdir()) == []
    assert plain_root.run("/bin/true").code == 0


def test_removal_stays_on_its_own_file_system(tmp_path: Path) -> None:
    """What root mounted below a job's directory is not emptied."""
    if os.getuid() != 0:
        pytest.skip("needs root, to mount")
    tree, other = tmp_path / "tree", tmp_path / "other"
    (tree / "a" / "mounted").mkdir(parents=True)
    other.mkdir()
    (other / "kept").write_text("x")
    script = f"mount -t tmpfs none {tree}/a/mounted && touch {tree}/a/mounted/kept && {sys.executable} -c " + (
        f"'from gproc.disk.trees import remove_tree; remove_tree(b\"{tree}\")' && ls {tree}/a/mounted"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
    if "unshare" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout == "kept\n", done.stderr


def test_a_removal_in_steps_says_whether_there_is_more(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    for number in range(50):
        (tree / "a" / "b" / str(number)).write_text("x")
    assert not remove_tree(os.fsencode(tree), 20)
    assert tree.exists()
    assert remove_tree(os.fsencode(tree), 1000)
    assert not tree.exists()


def test_a_tree_copied_into_a_view_keeps_links_as_links(node: Node, tmp_path: Path) -> None:
    if node.kind == "plain":
        pytest.skip("a view")
    source = tmp_path / "source"
    source.mkdir()
    (source / "link").symlink_to("/etc/passwd")
    view = View(
        "namespaces", (Tmpfs(node.bin_root), CopyTree(os.fsencode(source), node.bin_root), Proc(b"/proc")),
        b"/bin/readlink", b"/",
    )  # fmt: skip
    assert node.run("/bin/readlink", os.fsdecode(node.bin_root) + "/link", view=view).output == "/etc/passwd\n"
