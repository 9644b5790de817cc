"""What a host answers is not believed: it may say anything."""

from __future__ import annotations

import asyncio

import pytest

from gproc.start.answers import NodeFailed, next_answer


class Host:
    """A channel on which a host says one line."""

    peer = own = ""
    goes_on = False

    def __init__(self, line: bytes) -> None:
        self._line = line

    async def write(self, data: bytes) -> None:
        raise AssertionError("nothing is to be sent")

    async def line(self) -> bytes:
        return self._line

    def said(self) -> str:
        return ""

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"gproc-start failed 28 cannot write: /tmp\n", "cannot write: /tmp: No space left on device"),
        (b"gproc-start failed 99999999999999999999 x\n", "99999999999999999999 x"),
        (b"gproc-start failed " + b"9" * 5000 + b" x\n", "9" * 5000 + " x"),
        ("gproc-start failed \u0662 x\n".encode(), "\u0662 x"),
        (b"gproc-start dance\n", "it answers 'dance', not 'hello'"),
    ],
    ids=["an error", "no error has that number", "no number has so many digits", "other digits", "another answer"],
)
def test_a_host_that_answers_nonsense_has_failed_and_that_is_said(line: bytes, told: str) -> None:
    with pytest.raises(NodeFailed) as failed:
        asyncio.run(next_answer(Host(line), 5.0, "hello"))
    assert str(failed.value) == told
