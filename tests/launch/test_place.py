"""Directories of the caller's, shown at their own paths: what the job has there, and the node's own around it."""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gproc.root import kernel
from gproc.root.place import ENTRIES_MAX, put_node_top
from gproc.root.view import CopyTree, InPlace, MakeDirectory, Operation, OwnTop, Proc, Tmpfs, View
from tests.launch.conftest import USER


@pytest.fixture
def home(node: Any) -> Iterator[Path]:
    """A directory of the node's user, with something in it."""
    if node.kind == "plain":
        pytest.skip("needs a view")
    with tempfile.TemporaryDirectory(prefix="gproc-home-") as made:
        home = Path(made)
        (home / "kept").mkdir()
        (home / "kept/file").write_text("kept\n")
        (home / "note").write_text("note\n")
        (home / "link").symlink_to("note")
        (home / "both").mkdir()
        (home / "both/theirs").write_text("the node's\n")
        for path in (home, *home.rglob("*")):
            os.chown(path, node.uid, node.uid, follow_symlinks=False)
        yield home


def view(
    node: Any, at: Path, script_cwd: str, *below: str, whole: bool = False, yielding: tuple[bytes, ...] = ()
) -> View:
    """A root with these directories below `at`, which is shown there."""
    own = (MakeDirectory(node.bin_root, os.fsencode(path)) for path in (str(at), *(f"{at}/{name}" for name in below)))
    operations: tuple[Operation, ...] = (
        Tmpfs(node.bin_root), *own, InPlace(os.fsencode(at), node.bin_root, whole, yielding), Proc(b"/proc"),
    )  # fmt: skip
    return View("namespaces", operations, b"/bin/sh", os.fsencode(script_cwd))


def shipping(node: Any, home: Path, place: Path, names: tuple[str, ...], *yielding: bytes) -> View:
    """A root that shows the home, with files of a bundle in it, which is made in `place`."""
    bundle = place / "bundle"
    for name in names:
        path = Path(f"{bundle}{home}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("shipped\n")
    for path in (*place.parents[:-2], place, bundle, *bundle.rglob("*")):
        path.chmod(path.stat().st_mode | 0o755)
    shown = view(node, home, str(home), yielding=yielding)
    first, *others = shown.operations
    copied = CopyTree(os.fsencode(bundle), node.bin_root)
    return msgspec.structs.replace(shown, operations=(first, copied, *others))


def test_around_what_the_job_has_the_nodes_own_stays_as_it_is(node: Any, home: Path) -> None:
    script = (
        "ls; cat kept/file note link both/theirs; echo real > kept/new; echo more >> note; echo gone > new;"
        "ls mine both; echo x > mine/x; pwd"
    )
    done = node.run("sh", "-c", script, view=view(node, home, str(home), "mine", "both/ours"))
    assert done.code == 0, done
    assert done.output.splitlines() == [
        "both", "kept", "link", "mine", "note", "kept", "note", "note", "the node's", "both:", "ours", "theirs", "",
        "mine:", str(home),
    ]  # fmt: skip
    assert (home / "kept/new").read_text() == "real\n"
    assert (home / "note").read_text() == "note\nmore\n"
    assert sorted(os.listdir(home)) == ["both", "kept", "link", "note"]
    assert os.listdir(home / "both") == ["theirs"]


def test_what_yields_is_the_nodes_own_file_beside_what_was_shipped(node: Any, home: Path, tmp_path: Path) -> None:
    """`gproc e . cat /opt/a /opt/b` on a node with an /opt/a of its own showed the caller's."""
    names = ("note", "other", "both/theirs", "both/shipped", "lacking/file", "link")
    yielding = (b"note", b"other", b"both/theirs", b"lacking/file", b"link")
    shown = shipping(node, home, tmp_path, names, *yielding)
    script = "cat note other both/theirs both/shipped lacking/file link; echo more >> note"
    done = node.run("sh", "-c", script, view=shown)
    wanted = ["note", "shipped", "the node's", "shipped", "shipped", "note"]
    assert done.output.splitlines() == wanted, done
    assert (home / "note").read_text() == "note\nmore\n"
    # A directory below it that was shown before: numpy ended there with "Device or resource busy".
    # What the node lacks there was taken for the node's own when the outer one was shown, and was gone.
    inner = InPlace(os.fsencode(home / "both"), node.bin_root, False, (b"theirs", b"shipped"))
    outer = InPlace(os.fsencode(home), node.bin_root, False, (*yielding, b"both/shipped"))
    nested = msgspec.structs.replace(shown, operations=(*shown.operations[:-2], inner, outer, shown.operations[-1]))
    done = node.run("sh", "-c", "cat both/theirs both/shipped", view=nested)
    assert done.output == "the node's\nshipped\n", done


@pytest.mark.parametrize("inner_first", [False, True])
def test_a_directory_of_which_all_yields_is_the_nodes_own(
    node: Any, home: Path, tmp_path: Path, inner_first: bool
) -> None:
    """A job waited for ever for a file that came to its home, and what it wrote there was gone: `o.$i` named others."""
    shown = shipping(node, home, tmp_path, ("note", "both/theirs", "kept/file", "kept/mine"), b"note", b"both/theirs")
    places = [
        InPlace(os.fsencode(home), node.bin_root, False, (b"note", b"both/theirs", b"kept/file")),
        InPlace(os.fsencode(home / "both"), node.bin_root, False, (b"theirs",)),
    ]
    operations = (*shown.operations[:-2], *(places[::-1] if inner_first else places), shown.operations[-1])
    below = shlex.quote(f"{os.fsdecode(node.bin_root)}{home}/both")
    script = f"echo real > both/new; echo gone > kept/new; cat both/theirs; ls {below}"
    done = node.run("sh", "-c", script, view=msgspec.structs.replace(shown, operations=operations))
    assert done.output.splitlines() == ["the node's", "new", "theirs"], done
    assert (home / "both/new").read_text() == "real\n"
    assert (home / "both/theirs").read_text() == "the node's\n", "the node's own file was removed"
    assert (home / "note").read_text() == "note\n"
    assert os.listdir(home / "kept") == ["file"]


@pytest.mark.parametrize("yields", [False, True])
def test_what_yields_is_not_shown_beside_more_than_can_be_put_back(
    node: Any, home: Path, tmp_path: Path, yields: bool
) -> None:
    """`gproc e . ls ../data` with two small files here failed on a node whose own directory is large."""
    (home / "large").mkdir()
    (home / "large").chmod(0o777)
    for number in range(ENTRIES_MAX + 1):
        (home / "large" / f"{number}").touch()
    shown = shipping(node, home, tmp_path, ("large/ours",), b"large/ours")
    place = InPlace(os.fsencode(home / "large"), node.bin_root, False, (b"ours",), False, yields)
    shown = msgspec.structs.replace(shown, operations=(*shown.operations[:-2], place, shown.operations[-1]))
    done = node.run("sh", "-c", "ls large | wc -l; ls large/ours; echo x > large/new", view=shown)
    if yields:
        assert done.output.splitlines()[0].strip() == str(ENTRIES_MAX + 1), done
        assert (home / "large/new").exists()
    else:
        assert "entries stand beside what was sent" in str(done.outcome)


@pytest.mark.parametrize("stays", [False, True])
def test_a_working_directory_stays_the_jobs_own_if_all_in_it_yields(
    node: Any, home: Path, tmp_path: Path, stays: bool
) -> None:
    shown = shipping(node, home, tmp_path, ("note",), b"note")
    place = InPlace(os.fsencode(home), node.bin_root, False, (b"note",), stays)
    shown = msgspec.structs.replace(shown, operations=(*shown.operations[:-2], place, shown.operations[-1]))
    done = node.run("sh", "-c", "cat note; echo x > new; ls", view=shown)
    assert done.output.split() == ["note", "both", "kept", "link", "new", "note"], done
    assert (home / "new").exists() is not stays


def test_what_yields_stays_if_the_nodes_own_would_not_be_put_back(node: Any, home: Path, tmp_path: Path) -> None:
    """A directory that the caller may enter and not list: neither file was there."""
    if node.uid != 0:
        pytest.skip("needs a slave of root")
    (home / "closed/in").mkdir(parents=True)
    (home / "closed/in/x").write_text("the node's\n")
    (home / "closed").chmod(0o711)
    home.chmod(0o755)
    shown = shipping(node, home, tmp_path, ("closed/in/x",), b"closed/in/x")
    assert node.run("sh", "-c", "cat closed/in/x", view=shown, uid=USER).output == "shipped\n"


def test_a_directory_that_stands_for_the_nodes_hides_it(node: Any, home: Path) -> None:
    done = node.run("sh", "-c", "ls; echo x > x; ls", view=view(node, home, str(home), "mine", whole=True))
    assert done.output.split() == ["mine", "mine", "x"]
    assert "x" not in os.listdir(home)


def test_a_directory_that_the_node_lacks_is_there_and_gone_afterwards(node: Any, home: Path) -> None:
    at = home / "none/such"
    done = node.run("sh", "-c", "pwd; ls ../..; echo x > x; cat x ../../note", view=view(node, at, str(at)))
    assert done.output.split() == [str(at), "both", "kept", "link", "none", "note", "x", "note"]
    assert "none" not in os.listdir(home)


def test_what_the_caller_may_not_enter_stays_closed(node: Any, home: Path) -> None:
    """What lies in a closed directory may be readable by itself: only the directory protects it."""
    if node.uid != 0:
        pytest.skip("needs a slave of root")
    (home / "closed").mkdir(mode=0o700)
    (home / "closed/secret").write_text("secret\n")
    home.chmod(0o755)
    os.chown(home, USER, USER)
    script = "cat closed/secret; ls closed; cat kept/file"
    shown = view(node, home, str(home), "closed/mine")
    done = node.run("sh", "-c", script, view=shown, uid=USER)
    assert "secret\n" not in done.output
    assert done.output.splitlines()[-1] == "kept"


def test_a_root_directory_of_the_jobs_own_has_the_nodes_entries_and_more(node: Any) -> None:
    if node.kind == "plain":
        pytest.skip("needs a view")
    top = OwnTop(node.bin_root, (b"gproc-none-such",), ((b"gproc-no-link", b"usr/bin"),))
    operations: tuple[Operation, ...] = (
        top, Tmpfs(node.bin_root), MakeDirectory(node.bin_root, b"/u"), MakeDirectory(node.bin_root, b"/w"),
        MakeDirectory(node.bin_root, b"/gproc-none-such/at"), InPlace(b"/gproc-none-such/at", node.bin_root, True),
        Proc(b"/proc"),
    )  # fmt: skip
    shown = View("namespaces", operations, b"/bin/sh", b"/gproc-none-such/at")
    script = "pwd; echo x > x; cat x; test -x /gproc-no-link/env && echo linked; ls -d /usr /dev/null /proc/self/fd"
    done = node.run("sh", "-c", script, view=shown)
    assert done.output.split() == ["/gproc-none-such/at", "x", "linked", "/dev/null", "/proc/self/fd", "/usr"]
    assert not os.path.exists("/gproc-none-such")


def test_too_many_entries_beside_what_was_sent_are_refused_with_their_directory(node: Any, home: Path) -> None:
    """The message named one of the entries: "3404: it has too many entries to put back"."""
    (home / "many").mkdir()
    for number in range(4100):
        (home / f"many/{number}").symlink_to("x")
    failure = node.run("sh", "-c", "true", view=view(node, home, str(home), "many")).failure
    assert (failure.stage, failure.errno) == ("view", errno.E2BIG)
    assert failure.message.startswith(f"{home}/many: with it, more than 4,000 entries stand beside what was sent: cd ")


def test_entries_that_were_sent_too_are_no_entries_to_put_back(node: Any, home: Path, tmp_path: Path) -> None:
    """`-f DIR` was refused with 4,000 files if the node has that directory too, because its home is shared."""
    names = tuple(f"many/{number}" for number in range(4100))
    (home / "many").mkdir()
    for name in (*names, "many/theirs"):
        (home / name).touch()
    script = "cat many/4099; ls many | wc -l; test -e many/theirs"
    done = node.run("sh", "-c", script, view=shipping(node, home, tmp_path, names))
    assert (done.output.split(), done.code) == (["shipped", "4101"], 0), done


def test_an_entry_that_cannot_be_put_back_is_told_by_its_whole_path(node: Any) -> None:
    """`gproc e -f /proc/self/status`, of a user: "cwd: Permission denied", a link that only root may read there."""
    if os.geteuid() != 0 or node.kind == "plain" or node.uid == 0:
        pytest.skip("needs a view of a user's, and a process of another user")
    failure = node.run("sh", "-c", "true", view=view(node, Path("/proc/1"), "/proc/1", "status")).failure
    assert re.fullmatch(r"/proc/1/\w+: Permission denied", failure.message), failure


def test_a_user_who_has_mounted_something_there_stops_no_job_of_others(node: Any, home: Path) -> None:
    """Root may not ask what a file system of FUSE of another user is, took it for a file, and the job failed."""
    (home / "theirs").mkdir()
    try:
        server = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"needs FUSE: {error.strerror}")
    options = f"fd={server},rootmode=40755,user_id=1234,group_id=1234".encode()
    try:
        kernel.mount(b"theirs", os.fsencode(home / "theirs"), b"fuse", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    except OSError as error:
        os.close(server)
        pytest.skip(f"needs rights to mount: {error.strerror}")
    try:
        done = node.run("sh", "-c", "cat note; ls mine; ls", view=view(node, home, str(home), "mine"))
    finally:
        os.close(server)
        subprocess.run(["umount", "-l", str(home / "theirs")], check=True)
    assert done.output.splitlines() == ["note", "both", "kept", "link", "mine", "note", "theirs"], done


def test_a_root_directory_with_too_many_entries_was_copied_without_end_by_python(tmp_path: Path) -> None:
    """The helper says that it has too many, and passes over what the job has there; Python did neither."""
    (node := tmp_path / "node").mkdir()
    (own := tmp_path / "own").mkdir()
    for number in range(ENTRIES_MAX):
        (node / str(number)).symlink_to("x")
    (own / "5").symlink_to("own")
    node_fd, own_fd = os.open(node, os.O_RDONLY), os.open(own, os.O_RDONLY)
    try:
        put_node_top(node_fd, own_fd, b"7")
        assert len(os.listdir(own)) == ENTRIES_MAX
        assert os.readlink(own / "5") == "own"
        (node / "one more").symlink_to("x")
        with pytest.raises(OSError, match="it has too many entries"):
            put_node_top(node_fd, own_fd, b"")
    finally:
        os.close(node_fd)
        os.close(own_fd)
