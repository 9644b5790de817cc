"""What a node answers, or why it does not: it may say anything."""

from __future__ import annotations

import asyncio
import os
import re
from typing import Final

from gproc.start.script import Answer
from gproc.start.ssh import Channel, last_line

NOISE_LINES_MAX: Final = 200
"""Lines that a login shell may say before the script is heard."""

STARTING_S: Final = 60.0
"""A slave starts in 0.3 s of CPU; many on one machine, as in a laboratory, take that long together."""


class NodeFailed(Exception):
    """Why a node is not up, in a clause for a person."""


_LOG_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


def without_time(line: str) -> str:
    """A line of a slave's log."""
    return _LOG_TIME.sub("", line)


async def next_answer(channel: Channel, patience_s: float, *expected: str) -> Answer:
    """Raises: NodeFailed with what the node said instead, SshFailed."""
    heard = _Heard()
    try:
        async with asyncio.timeout(patience_s):
            answer = await _read_answer(channel, heard)
    except TimeoutError:
        said = channel.said() or heard.last
        raise NodeFailed(without_time(said) or f"no answer within {patience_s:g} s") from None
    if answer is None:
        raise NodeFailed(without_time(channel.said() or heard.last) or "the connection was closed without a word")
    if answer.word == "failed":
        number, _, words = answer.rest.partition(" ")
        words = words.removeprefix("-: ")
        raise NodeFailed(f"{words}: {os.strerror(int(number))}" if is_number(number) else answer.rest)
    if answer.word == "ended":
        raise NodeFailed(without_time(channel.said()) or f"the slave ended with status {answer.rest}")
    if answer.word not in expected:
        raise NodeFailed(f"it answers {answer.word!r}, not {expected[0]!r}")
    return answer


def is_number(text: str) -> bool:
    """Whether it is a port or a number of errno(3): a host may say anything."""
    return text.isascii() and text.isdigit() and len(text) <= 5


class _Heard:
    """last: what the login shell said last, if that is no answer; nologin(8) says there why it is the shell."""

    def __init__(self) -> None:
        self.last = ""


async def _read_answer(channel: Channel, heard: _Heard) -> Answer | None:
    for _ in range(NOISE_LINES_MAX):
        line = await channel.line()
        if not line:
            return None
        if (answer := Answer.read(line)) is not None:
            return answer
        heard.last = last_line(line) or heard.last
    raise NodeFailed("its login shell says more than is read")
