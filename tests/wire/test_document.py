"""docs/wire.md is what the types of the wire say."""

from __future__ import annotations

from gproc.wire import tags
from gproc.wire.directions import DIRECTIONS
from scripts.wire_document import PAGE, TALKS, document


def test_the_page_is_what_the_types_say() -> None:
    assert PAGE.read_text() == document(), "run `make docs`"


def test_every_direction_is_on_the_page_and_every_tag_has_a_direction() -> None:
    assert [direction for direction, _, _ in TALKS] == list(DIRECTIONS)
    said = {message.__name__ for direction in DIRECTIONS for message in direction.messages}
    assert said == set(tags.TAGS)
