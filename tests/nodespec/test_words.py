"""Words for nodes among the paths of NODES."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import SpecError
from gproc.naming.words import FAILED, Words, is_plain, is_specification, joined

PATHS = st.sampled_from(["1", "=1/4-7", ".", "./.", "9-12"])


@given(st.lists(PATHS | st.just(FAILED), min_size=1, max_size=6))
def test_the_word_can_stand_in_any_place(parts: list[str]) -> None:
    words = Words.parse(",".join(parts))
    assert words.failed == (FAILED in parts)
    assert words.paths == ",".join(part for part in parts if part != FAILED)
    assert is_plain(words.paths)


@pytest.mark.parametrize(
    ("text", "position"),
    [("", 0), (",@failed", 0), ("@failed,", 8), ("@failed,x", 8), ("1,@failed/3", 2), ("@faile", 0)],
)
def test_what_is_wrong_is_shown_at_its_place(text: str, position: int) -> None:
    with pytest.raises(SpecError) as raised:
        Words.parse(text)
    assert raised.value.position == position
    assert not is_specification(text)


@given(st.lists(PATHS | st.just(""), max_size=4))
def test_specifications_are_joined_without_empty_parts(texts: list[str]) -> None:
    assert joined(*texts) == ",".join(text for text in texts if text)
