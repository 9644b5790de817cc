"""Names with wildcards, as `--collect` takes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.request.globs import ANY_DEPTH, Globs, check_glob
from gproc.request.spec import Request


def matches(glob: str, path: str) -> bool:
    globs = Globs((glob.encode(),))
    return bool(globs.matching(globs.at(path.encode())))


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*.csv", "a.csv"), ("*", ".hidden"), ("a?", "ab"), ("[ab]", "b"), ("**/*.csv", "a.csv"),
        ("**/*.csv", "x/y/a.csv"), ("out/**", "out/a/b"), ("out", "out"), ("out", "out/a/b"), ("out*/", "out1/a"),
        ("a/**/b", "a/b"), ("a/**/b", "a/x/y/b"), ("**", "a/b/c"), ("./a".removeprefix("./"), "a"),
    ],
)  # fmt: skip
def test_a_path_that_a_glob_names(glob: str, path: str) -> None:
    assert matches(glob, path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*.csv", "x/a.csv"), ("*", "a/b"), ("a?", "a"), ("out*", "out1/a"), ("a/**/b", "a/b2"), ("b", "a/b"),
        ("*.csv", "a.csvx"), ("a/*/b", "a/b"),
    ],
)  # fmt: skip
def test_a_path_that_a_glob_does_not_name(glob: str, path: str) -> None:
    assert not matches(glob, path)


PARTS = st.text("ab", min_size=1, max_size=3)
GLOB_PARTS = st.one_of(st.just("**"), st.text("ab*?", min_size=1, max_size=3).filter(lambda part: "**" not in part))


def simple(glob: list[str], path: list[str]) -> bool:
    """The same by trying everything."""
    from fnmatch import fnmatchcase

    if not glob:
        return not path
    if glob[0] == "**":
        return simple(glob[1:], path) or (bool(path) and simple(glob, path[1:]))
    return bool(path) and fnmatchcase(path[0], glob[0]) and simple(glob[1:], path[1:])


@given(st.lists(GLOB_PARTS, min_size=1, max_size=5), st.lists(PARTS, min_size=1, max_size=5))
def test_globs_match_as_trying_everything_would(glob: list[str], path: list[str]) -> None:
    named = "/".join((*glob, "*"))  # the last part has a wildcard, so it is no directory
    assert matches(named, "/".join(path)) == simple([*glob, "*"], path)


@given(st.lists(GLOB_PARTS, min_size=1, max_size=5), st.lists(PARTS, min_size=2, max_size=5))
def test_the_way_to_a_match_is_never_left_out(glob: list[str], path: list[str]) -> None:
    globs = Globs(("/".join(glob).encode(),))
    if globs.matching(globs.at("/".join(path).encode())):
        assert all(globs.below(globs.at("/".join(path[:depth]).encode())) for depth in range(1, len(path)))


def test_a_name_made_to_be_slow_is_matched_at_once() -> None:
    assert not matches("/".join(["**", "*a" * 50] * 8), "/".join(["a" * 254 + "b"] * 12))


WRONG = ("/etc/passwd", "../x", "a/../b", "a/./b", "", "a\0b", "/".join([ANY_DEPTH.decode()] * 9))


@pytest.mark.parametrize("glob", WRONG)
def test_a_glob_that_leads_elsewhere_is_refused(glob: str) -> None:
    with pytest.raises(ValueError, match=r"absolute|part|empty|eight"):
        check_glob(glob.encode())
    with pytest.raises(ValueError, match=r"absolute|part|empty|eight|collect"):
        Request(nodes="1", argv=(b"x",), collect=(glob.encode(),))
