"""The conversation with one node: from a login to a slave that has joined, or the reason why not."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

import msgspec

from gproc.shown import shown_text
from gproc.start.commission import SECRET_BYTES, STARTED_WORD
from gproc.start.plan import Standing
from gproc.start.script import Answer, header, remove_command, start_command, stop_command
from gproc.start.ssh import Channel, SshFailed, Ways, open_channel

NOISE_LINES_MAX: Final = 200
"""Lines that a login shell may say before the script is heard."""

SENDING_S: Final = 600.0
"""For 10 MB at 150 kbit/s."""

STARTING_S: Final = 60.0
"""A slave starts in 0.3 s of CPU; many on one machine, as in a laboratory, take that long together."""

TICK_S: Final = 0.25

LAST_WORD_S: Final = 3.0
"""For a node whose connection is at its end to say why."""


class Stage(Enum):
    WAITING = "waiting"
    CONNECTING = "connecting"
    SENDING = "sending"
    STARTING = "starting"
    UP = "up"
    FAILED = "failed"
    STOPPED = "stopped"
    REMOVED = "removed"


class NodeFailed(Exception):
    """Why a node is not up, in a clause for a person."""


class Result(msgspec.Struct, frozen=True):
    """sent_bytes: of helper, runtime and secret.  port: where its children dial; 0 if it is not up."""

    stage: Stage
    reason: str = ""
    seconds: float = 0.0
    sent_bytes: int = 0
    address: str = ""
    port: int = 0


class Parcel(msgspec.Struct, frozen=True):
    """What every node is sent."""

    machine: str
    helper: bytes
    helper_digest: str
    digest: str
    archive: bytes


Commissioner = Callable[[Standing, str, str], Awaitable[bytes]]
"""Makes a node's secret when its parent is up; with the addresses of the node and of the front end as ssh saw them.

Raises: NodeFailed if the parent is not up.
"""


class NodeStart:
    """One node.  moved: called with each new stage."""

    def __init__(
        self, standing: Standing, slave: str, parcel: Parcel, ways: Ways, moved: Callable[[Standing, Stage], None]
    ) -> None:
        self._standing = standing
        self._slave = slave
        self._parcel = parcel
        self._ways = ways
        self._moved = moved
        self._sent = 0
        self._stage = Stage.WAITING

    async def run(self, handshakes: asyncio.Semaphore, commissioner: Commissioner) -> Result:
        """Its failures are results; only being cancelled is raised, after the node was told to end what it began."""
        began_s = time.monotonic()
        try:
            port, address = await self._run(handshakes, commissioner)
        except (NodeFailed, SshFailed) as error:
            self._move(Stage.FAILED)
            reason = shown_text(str(error))
            return Result(Stage.FAILED, reason, time.monotonic() - began_s, self._sent)
        self._move(Stage.UP)
        return Result(Stage.UP, "", time.monotonic() - began_s, self._sent, address, port)

    async def _run(self, handshakes: asyncio.Semaphore, commissioner: Commissioner) -> tuple[int, str]:
        parcel = self._parcel
        command = start_command(len(parcel.helper), parcel.helper_digest)
        async with handshakes:
            self._move(Stage.CONNECTING)
            channel = await open_channel(self._standing.host, command, self._ways)
            try:
                answer = await self._hello(channel)
            except BaseException:
                await _closed(channel)
                raise
        try:
            if answer.rest == "need":
                self._move(Stage.SENDING)
                await self._send(channel, parcel.helper)
                answer = await next_answer(channel, SENDING_S, "helper")
            return await self._bootstrap(channel, commissioner)
        finally:
            await _closed(channel)

    async def _hello(self, channel: Channel) -> Answer:
        hello = await next_answer(channel, self._ways.connect_timeout_s, "hello")
        machine = hello.rest.partition(" ")[0]
        if machine != self._parcel.machine:
            raise NodeFailed(f"it is an {machine} machine, and this runtime is for {self._parcel.machine}")
        return await next_answer(channel, self._ways.connect_timeout_s, "helper")

    async def _bootstrap(self, channel: Channel, commissioner: Commissioner) -> tuple[int, str]:
        parcel = self._parcel
        words = (STARTED_WORD,)
        await self._send(channel, header(parcel.digest, len(parcel.archive), self._slave, words, SECRET_BYTES))
        answer = await next_answer(channel, self._ways.connect_timeout_s, "need", "have")
        if answer.word == "need":
            self._move(Stage.SENDING)
            await self._send_runtime(channel)
        secret = await commissioner(self._standing, channel.peer, channel.own)
        self._move(Stage.STARTING)
        await self._send(channel, secret)
        ready = await self._ready(channel)
        if not _is_number(ready.rest):
            raise NodeFailed(f"the slave says {ready.rest!r} when it is ready")
        return int(ready.rest), channel.peer

    async def _send_runtime(self, channel: Channel) -> None:
        """A node that cannot take it says why, and reads no more."""
        answering = asyncio.ensure_future(next_answer(channel, SENDING_S, "have"))
        sending = asyncio.ensure_future(self._send(channel, self._parcel.archive))
        try:
            await asyncio.wait({answering, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and sending.exception() is not None:
                await asyncio.wait({answering}, timeout=LAST_WORD_S)
                if not answering.done():
                    sending.result()
            await answering
        finally:
            for each in (answering, sending):
                each.cancel()
            await asyncio.wait({answering, sending})

    async def _ready(self, channel: Channel) -> Answer:
        """A slave tries to join until it is let in.  One that complains has as long as a login, else a minute."""
        answering = asyncio.ensure_future(next_answer(channel, STARTING_S, "ready"))
        try:
            complained_s: float | None = None
            while not answering.done():
                await asyncio.wait({answering}, timeout=TICK_S)
                now_s = time.monotonic()
                if complained_s is None and channel.said():
                    complained_s = now_s
                if complained_s is not None and now_s - complained_s > self._ways.connect_timeout_s:
                    raise NodeFailed(_without_time(channel.said()))
            return answering.result()
        finally:
            answering.cancel()

    async def _send(self, channel: Channel, data: bytes) -> None:
        try:
            async with asyncio.timeout(SENDING_S):
                await channel.write(data)
        except TimeoutError:
            raise NodeFailed(f"it took nothing for {SENDING_S:g} s") from None
        self._sent += len(data)

    def _move(self, stage: Stage) -> None:
        if stage is not self._stage:
            self._stage = stage
            self._moved(self._standing, stage)


_LOG_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


def _without_time(line: str) -> str:
    """A line of a slave's log."""
    return _LOG_TIME.sub("", line)


async def stop_node(standing: Standing, slave: str, parcel: Parcel, ways: Ways) -> Result:
    """End the slave of that name on the host.  Its failures are results."""

    async def heard(channel: Channel) -> tuple[Stage, str]:
        answer = await next_answer(channel, 3 * ways.connect_timeout_s, "stopped", "none")
        return Stage.STOPPED, "" if answer.word == "stopped" else "no slave of this cluster ran"

    command = stop_command(len(parcel.helper), parcel.helper_digest, slave)
    return await _converse(standing, command, ways, heard)


async def remove_node(standing: Standing, slave: str, parcel: Parcel, ways: Ways, bin_root: str) -> Result:
    """End the slave of that name on the host, and leave nothing of ours there.  Its failures are results."""

    async def heard(channel: Channel) -> tuple[Stage, str]:
        answer = Answer("stopped", "")
        while answer.word in ("stopped", "none"):
            answer = await next_answer(channel, 6 * ways.connect_timeout_s, "stopped", "none", "kept", "removed")
        return Stage.REMOVED, f"stopped, but files were left: {answer.rest}" if answer.word == "kept" else ""

    command = remove_command(len(parcel.helper), parcel.helper_digest, slave, bin_root)
    return await _converse(standing, command, ways, heard)


async def _converse(
    standing: Standing, command: str, ways: Ways, heard: Callable[[Channel], Awaitable[tuple[Stage, str]]]
) -> Result:
    """Say a command to a host.  heard: takes the answers after the first, and says what came of it."""
    began_s = time.monotonic()
    try:
        channel = await open_channel(standing.host, command, ways)
        try:
            await next_answer(channel, ways.connect_timeout_s, "hello")
            stage, reason = await heard(channel)
        finally:
            await _closed(channel)
    except (NodeFailed, SshFailed) as error:
        stage, reason = Stage.FAILED, str(error)
    return Result(stage, shown_text(reason), time.monotonic() - began_s)


async def next_answer(channel: Channel, patience_s: float, *expected: str) -> Answer:
    """Raises: NodeFailed with what the node said instead, SshFailed."""
    try:
        async with asyncio.timeout(patience_s):
            answer = await _read_answer(channel)
    except TimeoutError:
        said = channel.said()
        raise NodeFailed(_without_time(said) or f"no answer within {patience_s:g} s") from None
    if answer is None:
        raise NodeFailed(_without_time(channel.said()) or "the connection was closed without a word")
    if answer.word == "failed":
        number, _, words = answer.rest.partition(" ")
        words = words.removeprefix("-: ")
        raise NodeFailed(f"{words}: {os.strerror(int(number))}" if _is_number(number) else answer.rest)
    if answer.word == "ended":
        raise NodeFailed(_without_time(channel.said()) or f"the slave ended with status {answer.rest}")
    if answer.word not in expected:
        raise NodeFailed(f"it answers {answer.word!r}, not {expected[0]!r}")
    return answer


def _is_number(text: str) -> bool:
    """Whether it is a port or a number of errno(3): a host may say anything."""
    return text.isascii() and text.isdigit() and len(text) <= 5


async def _read_answer(channel: Channel) -> Answer | None:
    for _ in range(NOISE_LINES_MAX):
        line = await channel.line()
        if not line:
            return None
        if (answer := Answer.read(line)) is not None:
            return answer
    raise NodeFailed("its login shell says more than is read")


async def _closed(channel: Channel) -> None:
    """To the end even if this is cancelled: a node must be told to end what it began."""
    closing = asyncio.ensure_future(channel.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise
