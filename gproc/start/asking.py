"""Passwords for ssh, from the person at the terminal: asked once, used for the other hosts too, kept in memory alone.

A host is tried with the answers to the same question in the order in which they were given, and only then is another
one asked for: three at most, for all hosts together.  If there is no terminal, nothing is asked.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from collections.abc import Callable
from typing import Final

from gproc.client.terminal import as_it_was

ANSWERS_MAX: Final = 3
LINE_BYTES_MAX: Final = 4096


class Asker:
    """hold: called with True before the terminal is needed, with False after that."""

    def __init__(self, hold: Callable[[bool], None] = lambda _: None) -> None:
        self._hold = hold
        self._answers: dict[tuple[str, ...], list[str]] = {}
        self._turn: asyncio.Lock | None = None
        self._terminal: bool | None = None

    @property
    def can_ask(self) -> bool:
        if self._terminal is None:
            try:
                self._terminal = os.isatty(0) and sys.stderr is not None and sys.stderr.isatty()
            except ValueError:  # closed
                self._terminal = False
        return self._terminal

    async def answer(self, question: tuple[str, ...], tried: int, prompt: str, *, echo: bool) -> str | None:
        """The answer after so many that a host has refused; None if there is none.

        question: what makes it the same for two hosts.
        """
        if not self.can_ask or tried >= ANSWERS_MAX:
            return None
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            answers = self._answers.setdefault(question, [])
            if tried >= len(answers):
                answers.append(await self._ask(prompt, echo=echo))
            return answers[tried]

    async def _ask(self, prompt: str, *, echo: bool) -> str:
        self._hold(True)
        try:
            return await _line(prompt, echo=echo)
        finally:
            self._hold(False)


async def _line(prompt: str, *, echo: bool) -> str:
    """The line that is typed on standard input.  Afterwards the terminal is as before, also if a signal ends us."""
    changed = termios.tcgetattr(0)
    if not echo:
        changed[3] &= ~termios.ECHO
    changed[3] |= termios.ICANON
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        if not typed.done():
            typed.set_result(os.read(0, LINE_BYTES_MAX))

    try:
        with as_it_was(0):
            termios.tcsetattr(0, termios.TCSAFLUSH, changed)
            sys.stderr.write(prompt)
            sys.stderr.flush()
            loop.add_reader(0, read)
            try:
                found = await typed
            finally:
                loop.remove_reader(0)
    finally:
        if not echo:
            sys.stderr.write("\n")
            sys.stderr.flush()
    return found.decode("utf-8", "surrogateescape").removesuffix("\n")
