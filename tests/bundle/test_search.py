"""The search rules as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.bundle.linking.search import Tokens, expand, expand_path, is_library_path_safe, is_musl_itself, ordered

TOKENS = Tokens("lib/x86_64-linux-gnu", ("x86_64", "haswell"))


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ("/plain", ("/plain",)),
        ("$ORIGIN/lib", ("/o/lib",)),
        ("${ORIGIN}lib", ("/olib",)),
        ("$ORIGINAL/x", ("$ORIGINAL/x",)),
        ("/x/$LIB", ("/x/lib/x86_64-linux-gnu",)),
        ("/x/$PLATFORM/${LIB}", ("/x/x86_64/lib/x86_64-linux-gnu", "/x/haswell/lib/x86_64-linux-gnu")),
        ("$$ORIGIN", ("$/o",)),
    ],
)
def test_tokens_are_replaced_with_and_without_braces(element: str, expected: tuple[str, ...]) -> None:
    assert expand(element, "/o", TOKENS) == expected


def test_a_token_without_a_value_drops_its_element() -> None:
    assert list(expand_path("/a:/x/$LIB:/b", "/o", Tokens(None, ()))) == ["/a", "/b"]


def test_an_empty_path_has_no_directory_and_an_empty_element_is_the_working_directory() -> None:
    assert list(expand_path("", "/o", TOKENS)) == []
    assert list(expand_path("/a;:/b", "/o", TOKENS, ":;")) == ["/a", "", "/b"]


@pytest.mark.parametrize("name", ["libc.so", "libm.so.6", "libpthread.so.0"])
def test_musl_answers_for_its_own_parts(name: str) -> None:
    assert is_musl_itself(name)
    assert not is_musl_itself(name.replace("lib", "libx"))


@pytest.mark.parametrize("name", ["../x", "a/../b", "/a/../b", "/a//b", "", ".", "$LIB/x"])
def test_a_library_path_that_no_build_makes_is_not_safe(name: str) -> None:
    assert not is_library_path_safe(name)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.frozensets(st.sampled_from("abcde"))), max_size=8))
def test_an_order_holds_each_directory_once_for_any_constraints(
    constraints: list[tuple[str, frozenset[str]]],
) -> None:
    assert sorted(ordered(constraints)) == sorted({directory for directory, _ in constraints})


def test_a_directory_that_would_hide_a_library_comes_later() -> None:
    assert ordered([("a", frozenset("a")), ("b", frozenset("ab"))]) == ("b", "a")
    assert ordered([("a", frozenset("a")), ("b", frozenset("b"))]) == ("a", "b")
