"""What a node answers, or why it does not: it may say anything.

A node is given up if it shows no sign of life for as long as a login may take.  Each answer is a sign of life, and so
is "doing": the helper there says it when it begins to wait for something, and once a second as long as it moves bytes,
or as the slave that it has started works.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import Final

from gproc.shown import shown_text
from gproc.start.script import Answer
from gproc.start.ssh import Channel, last_line

NOISE_LINES_MAX: Final = 200
"""Lines that a login shell may say before the script is heard."""

LONGEST_S: Final = 600.0
"""Seconds for an answer as long as something moves, even slowly: 10 MB at 150 kbit/s."""

STARTING_S: Final = 60.0
"""A slave starts in 0.3 s of CPU; many on one machine, as in a laboratory, take that long together."""


class NodeFailed(Exception):
    """Why a node is not up, in a clause for a person."""


class NodeSilent(NodeFailed):
    """It does not answer."""


_LOG_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


def without_time(line: str) -> str:
    """A line of a slave's log, or its last words."""
    return _LOG_TIME.sub("", line).removeprefix("gproc: ")


async def next_answer(
    channel: Channel, silence_s: float, whose: str, *expected: str, longest_s: float = LONGEST_S
) -> Answer:
    """whose: what is to answer, in words for a person.  silence_s: without a sign of life.  longest_s: in all.

    Raises: NodeFailed with what the node said instead, NodeSilent, SshFailed.
    """
    heard = _Heard(whose)
    try:
        async with asyncio.timeout(longest_s):
            answer = await _answer(channel, silence_s, heard)
    except TimeoutError:
        raise NodeSilent(f"no answer from {whose} within {_shown(longest_s)} s") from None
    if answer is None:
        raise NodeFailed(without_time(channel.said() or heard.last) or await _ended(channel, whose))
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


LOGIN_SHELL: Final = "its login shell"


class _Heard:
    """last: what the login shell said last, if that is no answer; nologin(8) says there why it is the shell.

    doing: what the node does, by its own words.
    """

    def __init__(self, whose: str) -> None:
        self.last = ""
        self.doing = ""
        self._whose = whose

    def silence(self, seconds: float, said: str) -> str:
        what = f"it {self.doing}, and nothing moves" if self.doing else f"no answer from {self._whose}"
        said = without_time(said or self.last)
        return f"{what} for {_shown(seconds)} s" + (f"; it said: {said}" if said else "")


def _shown(seconds: float) -> str:
    return f"{seconds:.1f}".removesuffix(".0")


async def _ended(channel: Channel, whose: str) -> str:
    status = await channel.status()
    ended = f"{whose} ended without a word" + ("" if status is None else f", with status {status}")
    return ended + (": does a start-up file of it, such as ~/.bashrc, call exit?" if whose == LOGIN_SHELL else "")


async def _answer(channel: Channel, silence_s: float, heard: _Heard) -> Answer | None:
    while True:
        try:
            async with asyncio.timeout(silence_s):
                answer = await _read_answer(channel, heard)
        except TimeoutError:
            raise NodeSilent(heard.silence(silence_s, channel.said())) from None
        if answer is None or answer.word != "doing":
            return answer
        heard.doing = shown_text(answer.rest)


async def _read_answer(channel: Channel, heard: _Heard) -> Answer | None:
    for _ in range(NOISE_LINES_MAX):
        line = await channel.line()
        if not line:
            return None
        if (answer := Answer.read(line)) is not None:
            return answer
        heard.last = last_line(line) or heard.last
    raise NodeFailed("its login shell says more than is read")
