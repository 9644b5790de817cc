"""A daemon takes no directory that another user could exchange: jobs would execute what that user puts there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gproc.disk.trusted import make_directories, why_untrusted
from gproc.errors import GprocError, LaunchError, StoreError
from gproc.records.place import open_state
from gproc.root.binroot import claim
from gproc.store.opening import open_store, usable_base
from gproc.trust.home import InsecureFile, gproc_home
from tests.patience import PATIENCE_S
from tests.store.samples import receive_other
from tests.system.as_user import gproc_as
from tests.system.cluster import NOBODY, Cluster

BELONGS = f"belongs to nobody (uid {NOBODY})"


@pytest.fixture(autouse=True)
def as_root(root_only: None) -> None:
    """Only root can give directories away."""


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Another user's directory."""
    place = tmp_path / "theirs"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    return place


def mode(path: Path, bits: int) -> Path:
    path.mkdir()
    path.chmod(bits)
    return path


def test_a_directory_that_only_root_can_exchange_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    sticky = mode(tmp_path / "sticky", 0o1777)  # as /tmp, and a tmpfs that is mounted without a mode
    for path in ("/", "/tmp", tmp_path / "real", tmp_path / "link", tmp_path / "link/../real", tmp_path / "missing"):
        assert why_untrusted(str(path)) == ""
    assert why_untrusted(str(sticky)) == why_untrusted(str(sticky / "missing" / "more")) == ""


def test_what_another_user_could_exchange_is_not(tmp_path: Path, theirs: Path) -> None:
    (theirs / "roots-own").mkdir()
    (theirs / "link").symlink_to(tmp_path)
    (tmp_path / "by-way").symlink_to(theirs)
    (tmp_path / "their-link").symlink_to(tmp_path)
    os.chown(tmp_path / "their-link", NOBODY, NOBODY, follow_symlinks=False)
    own = f"{theirs} {BELONGS}"
    assert why_untrusted(str(theirs)) == own
    for below in ("roots-own", "missing", "link"):
        assert why_untrusted(str(theirs / below)) == why_untrusted(str(tmp_path / "by-way" / below)) == own
    assert why_untrusted(str(tmp_path / "their-link")) == f"the link {tmp_path}/their-link {BELONGS}"
    for bits in (0o770, 0o757, 0o777):
        open_to_others = mode(tmp_path / f"{bits:o}", bits)
        for path in (open_to_others, open_to_others / "below"):
            found = why_untrusted(str(path))
            assert found == f"{open_to_others} may be written to by others (mode {bits:o}; chmod go-w it)"


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop/x")
    assert why_untrusted(str(tmp_path / "loop")) == f"{tmp_path}/loop is a loop of links"


def test_what_is_made_is_closed_to_others_for_any_umask(tmp_path: Path) -> None:
    """A store that root had made with umask 0 would else be refused at the next start."""
    before = os.umask(0)
    try:
        make_directories(str(tmp_path / "a/b/c"), 0o700)
    finally:
        os.umask(before)
    assert [(tmp_path / each).stat().st_mode & 0o777 for each in ("a", "a/b", "a/b/c")] == [0o755, 0o755, 0o700]


PLACES: dict[str, tuple[type[GprocError], Callable[[str], object]]] = {
    "store": (StoreError, open_store),
    "state": (GprocError, open_state),
    "home": (InsecureFile, lambda path: gproc_home({"GPROC_HOME": path})),
    "binRoot": (LaunchError, lambda path: claim(os.fsencode(path))),
}


@pytest.mark.parametrize("what", PLACES)
@pytest.mark.parametrize("below", ["", "roots-own", "missing/more"])
def test_every_kind_of_directory_is_refused_if_it_is_anothers_or_in_anothers(
    theirs: Path, what: str, below: str
) -> None:
    """binRoot was looked at, but not what is above it; of the others, only what is in them or they themselves."""
    (theirs / "roots-own").mkdir(mode=0o700)
    kind, take = PLACES[what]
    with pytest.raises(kind, match=f"{BELONGS}".replace("(", r"\(").replace(")", r"\)")):
        take(str(theirs / below))
    assert {each.name for each in theirs.iterdir()} <= {"roots-own", "missing"}
    assert what == "binRoot" or not (theirs / "missing").exists()


def test_a_started_slave_takes_another_store(theirs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gproc.store.opening.default_base", lambda _: str(theirs))
    assert usable_base({}, str(tmp_path / "other")) == str(tmp_path / "other")


def test_a_store_that_was_removed_and_made_by_another_is_not_used(tmp_path: Path) -> None:
    """While a slave runs, as when a cleaner has removed what is old below /tmp."""
    shared = mode(tmp_path / "shared", 0o1777)
    store = open_store(str(shared / "store"))
    receive_other(store, 1)
    shutil.rmtree(shared / "store")
    (shared / "store").mkdir()
    os.chown(shared / "store", NOBODY, NOBODY)
    with pytest.raises((StoreError, OSError), match="belongs to nobody"):
        receive_other(store, 2)
    assert not list((shared / "store").iterdir())


@pytest.fixture
def as_another_user() -> Iterator[Path]:
    """A directory of root that all may enter; the test is another user from then on."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        os.mkdir(f"{place}/own")
        os.chown(f"{place}/own", NOBODY, NOBODY)
        os.chmod(f"{place}/own", 0o775)  # as of a home where each user has a group
        os.mkdir(f"{place}/others")
        os.chown(f"{place}/others", 4711, 4712)
        os.chmod(f"{place}/others", 0o777)
        os.seteuid(NOBODY)
        try:
            yield Path(place)
        finally:
            os.seteuid(0)


def test_a_daemon_of_a_user_may_have_its_store_in_a_home_that_a_group_may_write(as_another_user: Path) -> None:
    for place in ("own", "own/store", "own/deep/store"):
        open_store(str(as_another_user / place))
    open_state(str(as_another_user / "own/state"))
    claim(os.fsencode(as_another_user / "own/xproc")).release()


def test_a_daemon_of_a_user_takes_no_directory_of_another(as_another_user: Path) -> None:
    theirs = str(as_another_user / "others")
    with pytest.raises(StoreError, match="belongs to uid 4711, so others could exchange what jobs execute"):
        open_store(theirs)
    assert not os.listdir(theirs)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("m", "--store={}"), ("m", "--state={}"), ("m", "--socket={}/g"), ("m", "GPROC_HOME={}/home"),
        ("s", "--store={}"), ("s", "-binRoot={}/x"), ("s", "GPROC_HOME={}/home"),
    ],
)  # fmt: skip
def test_a_daemon_of_root_ends_with_the_reason(tmp_path: Path, theirs: Path, what: str, words: str) -> None:
    """They ran, without a word; the owner could exchange the store between a check and a mount."""
    cluster = Cluster(tmp_path / "c")
    cluster.start_master()
    place = cluster.place / "second"
    given = {"--store": f"{place}/store"}
    if what == "m":
        given |= {"-cmdport": "0", "--socket": f"{cluster.place}/g2", "--state": f"{place}/state"}
    else:
        given |= {"-parent": f"127.0.0.1:{cluster.port}", "-binRoot": f"{place}/xproc"}
    name, _, value = words.format(theirs).partition("=")
    env = {**cluster.env, name: value} if name == "GPROC_HOME" else cluster.env
    given |= {} if name == "GPROC_HOME" else {name: value}
    done = subprocess.run(
        [*gproc_as(None), what, *map("=".join, given.items())], env=env, cwd=cluster.work, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 125, done.stderr
    assert f"{theirs} {BELONGS}" in done.stderr
    assert "joined" not in done.stderr and "master on" not in done.stderr
    cluster.stop()
