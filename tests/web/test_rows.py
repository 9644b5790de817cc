"""What the page is told of a job's output."""

from __future__ import annotations

from gproc.client.events import Event, Exited, Output
from gproc.request.outcome import Returned
from gproc.web.rows import OutputRows


def test_a_character_that_the_output_breaks_off_is_shown() -> None:
    """What stood between the last whole character and the end was missing on the page."""
    rows = OutputRows()
    given: list[Event] = [
        Output("1", "stdout", "ä".encode()[:1], 0), Output("1", "stdout", "ä".encode()[1:], 0),
        Output("1", "stderr", b"abc\xe2\x82", 0), Exited("1", Returned(0), 0),
    ]  # fmt: skip
    said = [row for event in given for row in rows.rows(event)]
    assert [row.get("text") for row in said] == ["", "ä", "abc", "\ufffd", None]
    assert said[-1] == {"node": "1", "ended": "exit status 0"}
