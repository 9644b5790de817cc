"""Directories that jobs have made because their caller named them as binRoot."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from gproc.request.spec import Caller
from gproc.root.named import NamedBinRoots
from gproc.root.view import MADE

USER = 4777


def given_back(path: Path, uid: int) -> None:
    async def give() -> None:
        named = NamedBinRoots()
        named.give_back(os.fsencode(path), Caller(uid, uid, ()))
        await asyncio.gather(*named._tasks)

    asyncio.run(give())


def made(path: Path, uid: int) -> None:
    path.mkdir()
    path.chmod(MADE)
    os.chown(path, uid, uid)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that every user may enter."""
    if os.geteuid() != 0:
        pytest.skip("needs root, who must not use its rights here")
    for each in (tmp_path, *tmp_path.parents[:-2]):
        each.chmod(each.stat().st_mode | 0o711)
    return tmp_path


def test_what_was_made_goes_up_to_the_first_that_was_not(place: Path) -> None:
    os.chown(place, USER, USER)
    made(place / "a", USER)
    made(place / "a/b", USER)
    given_back(place / "a/b", USER)
    assert place.exists()
    assert not (place / "a").exists()


def test_root_removes_nothing_that_the_user_may_not_remove(place: Path) -> None:
    """The slave of root removed it itself, by the path: who exchanged a part of it chose what root removed."""
    made(place / "users", USER)  # in a directory of root's
    given_back(place / "users", USER)
    assert (place / "users").exists()
    (place / "link").symlink_to(place / "users")
    given_back(place / "link", USER)
    assert (place / "users").exists()


def test_what_is_not_the_users_or_has_no_mark_stays(place: Path) -> None:
    os.chown(place, USER, USER)
    made(place / "roots", 0)
    made(place / "unmarked", USER)
    (place / "unmarked").chmod(0o755)
    for name in ("roots", "unmarked", "none"):
        given_back(place / name, USER)
    assert sorted(each.name for each in place.iterdir()) == ["roots", "unmarked"]
