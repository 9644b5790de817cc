"""The master of a data node: registers its server at the front end, and again before the lease is over."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from gproc.adapters.gridftp.journal import log
from gproc.adapters.gridftp.packets import PACKET_BYTES, MessageKind, Registration, is_ack
from gproc.adapters.gridftp.security import check_frontend
from gproc.errors import TrustError
from gproc.trust.identity import Identity
from gproc.trust.tls import client_context, explain

PATIENCE_S: Final = 15.0
"""For one registration, as of Globus' data nodes."""

RETRY_S: Final = 10.0
"""After a registration that failed: the front end may be about to start."""

FAREWELL_S: Final = 1.5
"""For the last message: gfork kills a master after 2 s."""


class Registrant:
    """frontend: host and port.  contact: HOST:PORT of this data node's server.  own: None for -G n."""

    def __init__(self, frontend: tuple[str, int], contact: str, own: Identity | None) -> None:
        self._host, self._port = frontend
        self._registration = Registration(contact)
        self._own = own

    async def run(self, interval_s: float) -> None:
        """Register every interval_s, for ever."""
        while True:
            is_registered = await self._say(MessageKind.BACKEND, PATIENCE_S)
            await asyncio.sleep(interval_s if is_registered else min(RETRY_S, interval_s))

    async def leave(self) -> None:
        """Tell the front end that this data node ends."""
        await self._say(MessageKind.REMOVE, FAREWELL_S)

    async def _say(self, kind: MessageKind, patience_s: float) -> bool:
        """Returns: whether the front end took it."""
        where = f"{self._host}, port {self._port}"
        try:
            async with asyncio.timeout(patience_s):
                is_taken = await self._exchange(self._registration.packet(kind))
        except (TimeoutError, asyncio.IncompleteReadError):
            log.error("%s: no answer came", where)
        except TrustError as error:
            log.error("%s: %s", where, error)
        except OSError as error:
            log.error("%s: %s", where, explain(error))
        else:
            log.info("%s: %s is %s", where, kind.name, "done" if is_taken else "refused")
            return is_taken
        return False

    async def _exchange(self, packet: bytes) -> bool:
        context = client_context(self._own) if self._own else None
        reader, writer = await asyncio.open_connection(
            self._host, self._port, ssl=context, server_hostname=self._host if context else None
        )
        try:
            if self._own is not None:
                check_frontend(writer.get_extra_info("ssl_object"), self._host, self._own)
            writer.write(packet)
            await writer.drain()
            return is_ack(await reader.readexactly(PACKET_BYTES))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
