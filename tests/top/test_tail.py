"""What is kept of a job's output until it is drawn."""

from __future__ import annotations

from gproc.client.events import Exited, Output
from gproc.request.outcome import Returned
from gproc.top.tail import LINE_BYTES, LOG_LINES, Tail


def texts(tail: Tail) -> list[str]:
    return [line.before + line.text for line in tail.take_out(len(tail))]


def test_lines_are_whole_however_they_come() -> None:
    tail = Tail()
    for piece in (b"a\nb", b"", b"c\n\nd"):
        tail.take_in(Output("1/7", "stdout", piece, 0))
    assert texts(tail) == ["1/7: a", "1/7: bc", "1/7: "]
    tail.take_in(Exited("1/7", Returned(3), 0))
    assert texts(tail) == ["1/7: d", "1/7: exit status 3"]


def test_a_program_that_writes_faster_than_a_terminal_draws_leaves_its_newest_lines() -> None:
    tail = Tail()
    for begin in range(0, 3 * LOG_LINES, 1000):
        tail.take_in(Output("1", "stdout", b"".join(b"%d\n" % n for n in range(begin, begin + 1000)), 0))
    found = texts(tail)
    assert (len(found), found[0], found[-1]) == (LOG_LINES, f"1: {2 * LOG_LINES}", f"1: {3 * LOG_LINES - 1}")


def test_a_line_that_never_ends_is_drawn_in_parts_and_not_kept_whole() -> None:
    tail = Tail()
    for _ in range(10):
        tail.take_in(Output("1", "stderr", b"a" * (LINE_BYTES + 1), 0))
    assert texts(tail) == ["1: " + "a" * LINE_BYTES] * 10
    tail.take_in(Output("1", "stderr", b"\n", 0))
    assert texts(tail) == ["1: " + "a" * 10]


def test_what_would_control_a_terminal_is_not_drawn() -> None:
    tail = Tail()
    tail.take_in(Output("1", "stdout", b"\x1b[2J\xff\tx\n", 0))
    assert texts(tail) == ["1: \\x1b[2J\ufffd\tx"]
