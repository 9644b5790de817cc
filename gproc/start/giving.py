"""The runtime for one node: nothing if it has it, else the rest that it lacks, from another node or from here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from gproc.addresses import is_address
from gproc.native.build import MACHINES
from gproc.shown import shown_text
from gproc.start.answers import LONGEST_S, NodeFailed, is_number, next_answer
from gproc.start.commission import SECRET_BYTES, STARTED_WORD
from gproc.start.master import address_of
from gproc.start.plan import Standing
from gproc.start.script import Answer, header, order_to_fetch, order_to_take
from gproc.start.ssh import Channel
from gproc.start.supply import Giver, ParentFailed, Permit, Supply

LAST_WORD_S: Final = 3.0
"""Seconds that a node has to say why, after its connection has ended."""

NEEDS_MAX: Final = 5
"""A node asks once, twice more if other nodes did not do, and once more if what came was wrong."""


class Parcel(msgspec.Struct, frozen=True):
    """What every node of one kind of machine is sent."""

    machine: str
    helper: bytes
    helper_digest: str
    digest: str
    archive: bytes


class Parcels:
    """What nodes are sent.  own: those of this kind of machine.  other: finds what was packed for another kind."""

    def __init__(self, own: Parcel, other: Callable[[str], Parcel | None]) -> None:
        self.own = own
        self._other = other
        self._found = {own.machine: own}

    def of(self, machine: str) -> Parcel:
        """Raises: NodeFailed."""
        if machine in MACHINES and machine not in self._found and (parcel := self._other(machine)) is not None:
            self._found[machine] = parcel
        if machine in self._found:
            return self._found[machine]
        can = f"; gproc runtime -r ROOT packs one for {machine} (docs/clusters.md)" if machine in MACHINES else ""
        raise NodeFailed(f"it is an {machine} machine, and this runtime is for {self.own.machine}{can}")


class Giving:
    """sent_bytes: from here.  source: the node that gave the rest; "" if that was this one, or nothing came.

    note: why another node failed as a source, and which one gave it then, for a person.  sending: called when bytes
    begin to come.
    """

    def __init__(
        self, channel: Channel, standing: Standing, parcel: Parcel, supply: Supply, silence_s: float,
        sending: Callable[[], None],
    ) -> None:  # fmt: skip
        self._channel = channel
        self._standing = standing
        self._parcel = parcel
        self._supply = supply
        self._silence_s = silence_s
        self._sending = sending
        self._token = supply.token()
        self.sent_bytes = 0
        self.source = ""
        self.note = ""
        self._trouble = ""

    async def give(self, slave: str) -> None:
        """Give the runtime to a bootstrap that reads its header.  Raises: NodeFailed, SshFailed."""
        parcel = self._parcel
        await self._parent_settled()
        words = (STARTED_WORD,)
        begin = header(parcel.digest, len(parcel.archive), slave, words, SECRET_BYTES, self._token)
        await self._send(begin, self._silence_s)
        answer = await self._next()
        for count in range(NEEDS_MAX):
            if answer.word == "have":
                self._supply.has_it(self._standing.name, await self._giver(answer.rest))
                return
            answer = await self._supplied(answer, count)
        raise NodeFailed("it asks for the runtime again and again")

    async def _supplied(self, need: Answer, count: int) -> Answer:
        """Its next answer, when it was given the rest by this or that way.  count: of what it was given before."""
        text, _, rest = need.rest.partition(" ")
        port, _, why = rest.partition(" ")
        offset = _offset(text)
        if not 0 <= offset < len(self._parcel.archive):
            raise NodeFailed(f"it asks for a part of the runtime that is not there: {need.rest!r}")
        if self.source:
            self._trouble = f"{self.source} did not hand the runtime on: {shown_text(why)}"
            self.source = ""
        giver = await self._giver(port)
        turn = await self._turn(count, offset)
        came = some = False
        try:
            if giver is not None:
                self._supply.offer(giver, turn)
            answer = await self._given(turn, offset)
            came = answer.word == "have"
            if came and self._trouble:
                gave = "it was sent from here" if turn.source is None else f"{turn.source.name} gave it"
                self.note = f"{self._trouble}; {gave}"
            some = answer.word == "need" and _offset(answer.rest.partition(" ")[0]) > offset
        finally:
            self._supply.ended(turn, came=came, some=some)
        return answer

    async def _turn(self, count: int, offset: int) -> Permit:
        """The first turn may be at a node that is itself still receiving, unless this node may be ahead of that one.

        No later one is: no node waits for itself by way of others.
        """
        name = self._standing.name
        if count > 1:
            return self._supply.own_turn(name)
        return await self._supply.turn(name, self._parcel.digest, whole=count > 0 or offset > 0)

    async def _parent_settled(self) -> None:
        try:
            await self._supply.parent_settled(self._standing.name)
        except ParentFailed:
            raise NodeFailed(f"its parent {self._standing.parent} is not up") from None

    async def _given(self, turn: Permit, offset: int) -> Answer:
        self._sending()
        if turn.source is None:
            return await self._send_rest(offset)
        self.source = turn.source.name
        await self._send(order_to_fetch(turn.source.address, turn.source.port, turn.source.token), self._silence_s)
        return await self._next()

    async def _next(self) -> Answer:
        return await next_answer(self._channel, self._silence_s, "gproc's helper there", "have", "need")

    async def _send_rest(self, offset: int) -> Answer:
        """A node that cannot take it says why, and reads no more."""
        await self._send(order_to_take(offset), self._silence_s)
        rest = self._parcel.archive[offset:] if offset else self._parcel.archive
        answering = asyncio.ensure_future(self._next())
        sending = asyncio.ensure_future(self._send(rest, LONGEST_S))
        try:
            await asyncio.wait({answering, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and sending.exception() is not None:
                await asyncio.wait({answering}, timeout=LAST_WORD_S)
                if not answering.done():
                    sending.result()
            return await answering
        finally:
            for each in (answering, sending):
                each.cancel()
            await asyncio.wait({answering, sending})

    async def _giver(self, port: str) -> Giver | None:
        """What it is for others at that port, if it can be dialled there."""
        name = self._standing.name
        address = self._standing.address or self._channel.peer
        if is_number(port) and int(port) and not is_address(address):
            address = await asyncio.to_thread(address_of, name)
        # At such an address only its own machine finds it; that may be a tunnel's end.
        own = address.startswith("127.") or address == "::1"
        if is_number(port) and 0 < int(port) < 1 << 16 and is_address(address) and not own:
            return Giver(name, address, int(port), self._token, self._parcel.digest)
        return None

    async def _send(self, data: bytes, limit_s: float) -> None:
        await send(self._channel, data, limit_s)
        self.sent_bytes += len(data)


def _offset(text: str) -> int:
    """-1 if it is none: a host may say anything."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1


async def send(channel: Channel, data: bytes, limit_s: float) -> None:
    """Raises: NodeFailed if it takes too long, SshFailed."""
    try:
        async with asyncio.timeout(limit_s):
            await channel.write(data)
    except TimeoutError:
        raise NodeFailed(f"{len(data)} bytes were not taken within {limit_s:g} s") from None
