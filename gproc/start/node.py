"""The conversation with one node: from a login to a slave that has joined, or the reason why not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

import msgspec

from gproc.locales import Parent
from gproc.shown import shown_text
from gproc.start.answers import LOGIN_SHELL, STARTING_S, NodeFailed, NodeSilent, is_number, next_answer, without_time
from gproc.start.commission import Commission
from gproc.start.giving import Giving, Parcel, Parcels, send
from gproc.start.plan import Standing
from gproc.start.script import Answer, remove_command, start_command, stop_command
from gproc.start.ssh import Channel, Closing, SshFailed, Ways, open_channel
from gproc.start.supply import Supply

HELPERS_MAX: Final = 6
"""A host that cannot keep the helper in one of five directories asks for it again."""


class Stage(Enum):
    WAITING = "waiting"
    CONNECTING = "connecting"
    SENDING = "sending"
    STARTING = "starting"
    UP = "up"
    FAILED = "failed"
    STOPPED = "stopped"
    REMOVED = "removed"


class Result(msgspec.Struct, frozen=True):
    """sent_bytes: of helper, runtime and secret, from here.  source: the node from which the runtime came; "" for none.

    port: where its children dial; 0 if it is not up.
    """

    stage: Stage
    reason: str = ""
    seconds: float = 0.0
    sent_bytes: int = 0
    address: str = ""
    port: int = 0
    source: str = ""


Commissioner = Callable[[Standing, str, str], Awaitable[Commission]]
"""Makes a node's secret when its parent is up; with the addresses of the node and of the front end as ssh saw them.

Raises: NodeFailed if the parent is not up.
"""


class NodeStart:
    """One node.  moved: called with each new stage."""

    def __init__(
        self, standing: Standing, slave: str, parcels: Parcels, ways: Ways, supply: Supply,
        closing: Closing, moved: Callable[[Standing, Stage], None],
    ) -> None:  # fmt: skip
        self._standing = standing
        self._slave = slave
        self._parcels = parcels
        self._ways = ways
        self._supply = supply
        self._closing = closing
        self._moved = moved
        self._sent = 0
        self._giving: Giving | None = None
        self._stage = Stage.WAITING

    async def run(self, handshakes: asyncio.Semaphore, commissioner: Commissioner) -> Result:
        """Its failures are results; only being cancelled is raised.  `closing` tells the node to end what it began."""
        began_s = time.monotonic()
        try:
            port, address = await self._run(handshakes, commissioner)
        except (NodeFailed, SshFailed) as error:
            self._move(Stage.FAILED)
            self._supply.settled(self._standing.name, failed=True)
            return self._result(Stage.FAILED, shown_text(str(error)), began_s)
        self._move(Stage.UP)
        return self._result(Stage.UP, self._giving.note if self._giving else "", began_s, address, port)

    def _result(self, stage: Stage, reason: str, began_s: float, address: str = "", port: int = 0) -> Result:
        sent, source = (self._giving.sent_bytes, self._giving.source) if self._giving else (0, "")
        return Result(stage, reason, time.monotonic() - began_s, self._sent + sent, address, port, source)

    async def _run(self, handshakes: asyncio.Semaphore, commissioner: Commissioner) -> tuple[int, str]:
        async with handshakes:
            self._move(Stage.CONNECTING)
            parcel, channel, answer = await self._hello()
        kept = False
        try:
            await self._helped(channel, parcel, answer)
            started = await self._bootstrap(channel, parcel, commissioner)
            channel.goes_on = self._ways.attended
            kept = self._supply.keep(self._standing.name, channel)
            return started
        finally:
            if not kept:
                # What came of this node is told before that: a channel has some seconds to close.
                self._closing.begin(channel)

    async def _helped(self, channel: Channel, parcel: Parcel, answer: Answer) -> None:
        for _ in range(HELPERS_MAX):
            if answer.rest != "need":
                return
            self._move(Stage.SENDING)
            await self._send(channel, parcel.helper)
            answer = await self._helper_answer(channel)
        raise NodeFailed("it asks for the helper again and again")

    async def _helper_answer(self, channel: Channel) -> Answer:
        return await next_answer(channel, self._ways.connect_timeout_s, "/bin/sh there", "helper")

    async def _send(self, channel: Channel, data: bytes) -> None:
        await send(channel, data, self._ways.connect_timeout_s)
        self._sent += len(data)

    async def _hello(self) -> tuple[Parcel, Channel, Answer]:
        parcel = self._parcels.own
        channel, machine = await self._login(parcel)
        if machine != parcel.machine:
            self._closing.begin(channel, at_once=True)
            parcel = self._parcels.of(machine)
            channel, _ = await self._login(parcel)
        try:
            return parcel, channel, await self._helper_answer(channel)
        except BaseException:
            self._closing.begin(channel)
            raise

    async def _login(self, parcel: Parcel) -> tuple[Channel, str]:
        """What the shell is told names the helper of a kind of machine."""
        command = start_command(len(parcel.helper), parcel.helper_digest, self._slave)
        return await _login(self._standing, command, self._ways, self._closing)

    async def _bootstrap(self, channel: Channel, parcel: Parcel, commissioner: Commissioner) -> tuple[int, str]:
        silence_s = self._ways.connect_timeout_s
        giving = Giving(
            channel, self._standing, parcel, self._supply, silence_s, lambda: self._move(Stage.SENDING)
        )  # fmt: skip
        self._giving = giving
        await giving.give(self._slave)
        commission = await commissioner(self._standing, channel.peer, channel.own)
        self._move(Stage.STARTING)
        await self._send(channel, commission.encoded())
        await next_answer(channel, silence_s, "the slave", "joining", longest_s=STARTING_S)
        ready = await self._joined(channel, commission.parent)
        if not is_number(ready.rest):
            raise NodeFailed(f"the slave says {ready.rest!r} when it is ready")
        return int(ready.rest), channel.peer

    async def _joined(self, channel: Channel, parent: Parent) -> Answer:
        """A slave tries to join until it is let in.  It has as long as a login, whatever it does meanwhile."""
        limit_s = self._ways.connect_timeout_s
        whose = f"its parent at {parent.host} port {parent.port}"
        try:
            return await next_answer(channel, limit_s, whose, "ready", longest_s=limit_s)
        except NodeSilent as silent:
            complaint = without_time(channel.said())
            raise NodeFailed(complaint or f"{silent}: is a firewall between them?") from None

    def _move(self, stage: Stage) -> None:
        if stage is not self._stage:
            self._stage = stage
            self._moved(self._standing, stage)


NONE_RAN: Final = "no slave of this cluster ran"


async def stop_node(standing: Standing, slave: str, ways: Ways, closing: Closing) -> Result:
    """End the slave of that name on the host.  Its failures are results."""

    async def heard(channel: Channel) -> tuple[Stage, str]:
        said = set[str]()
        while "finished" not in said:
            answer = await next_answer(
                channel, ways.connect_timeout_s, "gproc's helper there", "stopped", "none", "finished"
            )  # fmt: skip
            said.add(answer.word)
        return Stage.STOPPED, "" if "stopped" in said else NONE_RAN

    return await _converse(standing, stop_command(slave), ways, closing, heard)


async def remove_node(standing: Standing, slave: str, ways: Ways, closing: Closing, bin_root: str) -> Result:
    """End the slave of that name on the host, and leave nothing of ours there.  Its failures are results."""

    async def heard(channel: Channel) -> tuple[Stage, str]:
        answer = Answer("stopped", "")
        while answer.word in ("stopped", "none"):
            answer = await next_answer(
                channel, ways.connect_timeout_s, "/bin/sh there", "stopped", "none", "kept", "removed"
            )  # fmt: skip
        return Stage.REMOVED, f"stopped, but files were left: {answer.rest}" if answer.word == "kept" else ""

    return await _converse(standing, remove_command(slave, bin_root), ways, closing, heard)


async def _converse(
    standing: Standing, command: str, ways: Ways, closing: Closing,
    heard: Callable[[Channel], Awaitable[tuple[Stage, str]]],
) -> Result:  # fmt: skip
    """Say a command to a host.  heard: takes the answers after the first, and says what came of it."""
    began_s = time.monotonic()
    try:
        channel, _ = await _login(standing, command, ways, closing)
        try:
            stage, reason = await heard(channel)
        finally:
            closing.begin(channel)
    except (NodeFailed, SshFailed) as error:
        stage, reason = Stage.FAILED, str(error)
    return Result(stage, shown_text(reason), time.monotonic() - began_s)


async def _login(standing: Standing, command: str, ways: Ways, closing: Closing) -> tuple[Channel, str]:
    """Say a command to a host, up to its hello, which says what kind of machine it is.  Returns that too.

    closing: gets the end of a channel that did not do.  Raises: NodeFailed, SshFailed.
    """
    channel, left_s = await open_channel(standing.host, command, ways)
    try:
        hello = await next_answer(channel, left_s, LOGIN_SHELL, "hello")
    except BaseException:
        closing.begin(channel, at_once=True)
        raise
    return channel, hello.rest.partition(" ")[0]
