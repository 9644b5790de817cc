"""What GridFTP's masters and servers say to each other, byte for byte as Globus' gfs-gfork-master.  Pure.

Every message begins with the version `a`, five reserved bytes, and its kind.  A registration has 254 bytes:

| offset | | |
|---|---|---|
| 0 | version | `a` |
| 6 | kind | |
| 7 | connections at once | 4 bytes; 0 for no limit |
| 11 | connections in all | 4 bytes; 0 for no limit |
| 15 | entries | 4 bytes: how many registrations are left in a message for a server, this one included |
| 19 | cookie, repository | 127 bytes, which Globus' names for them overlap; passed on as they are |
| 146 | contact | 108 bytes: HOST:PORT and zeros |

Numbers are in network order on the network, and in the machine's order in messages for its servers.
"""

from __future__ import annotations

import re
import struct
from enum import IntEnum
from ipaddress import IPv6Address
from typing import Final

import msgspec

from gproc.errors import PeerError

PACKET_BYTES: Final = 254
CONTACT_BYTES: Final = 108
_VERSION: Final = ord("a")
_HEAD: Final = struct.Struct("=B5xB")
_PACKET: Final = struct.Struct(f"=B5xBIII127s{CONTACT_BYTES}s")
_MEMORY: Final = struct.Struct("=B5xBI")
_CONTACT: Final = re.compile(rb"[A-Za-z0-9.:-]+|\[([0-9A-Fa-f:.]+)\]:[0-9]{1,5}")
_BROKEN_SENDERS_KIND: Final = 1
"""Where Globus' server writes the kind of RELEASE, by mistake."""


class MessageKind(IntEnum):
    BACKEND = 1
    KILL = 2
    MEMORY = 3
    READY = 4
    ACK = 5
    NACK = 6
    RELEASE = 8
    REMOVE = 9


class BadPacket(PeerError):
    """What came is no registration."""


class Registration(msgspec.Struct, frozen=True):
    """A data node.  contact: HOST:PORT.  at_once, total: connections; 0 for no limit.  rest: cookie and repository."""

    contact: str
    at_once: int = 0
    total: int = 0
    rest: bytes = bytes(127)

    def packet(self, kind: MessageKind = MessageKind.BACKEND) -> bytes:
        """For the network."""
        numbers = (_swapped(self.at_once), _swapped(self.total), 0)
        return _PACKET.pack(_VERSION, kind, *numbers, self.rest, self.contact.encode())

    def entry(self, left: int) -> bytes:
        """For a server of this machine.  left: registrations in the message from this one on."""
        return _PACKET.pack(
            _VERSION, MessageKind.BACKEND, self.at_once, self.total, left, self.rest, self.contact.encode()
        )


def _swapped(number: int) -> int:
    """Between the machine's order and the network's."""
    return int(struct.unpack("=I", struct.pack("!I", number))[0])


def read_packet(packet: bytes) -> tuple[MessageKind, Registration]:
    """A BACKEND or REMOVE from the network.  Raises: BadPacket, with the reason."""
    if len(packet) != PACKET_BYTES:
        raise BadPacket(f"{len(packet)} bytes instead of {PACKET_BYTES}")
    version, kind, at_once, total, _, rest, contact = _PACKET.unpack(packet)
    if version != _VERSION:
        raise BadPacket(f"version {version:#x} instead of {_VERSION:#x}")
    if kind not in (MessageKind.BACKEND, MessageKind.REMOVE):
        raise BadPacket(f"kind {kind}, which is neither a registration nor its end")
    name, zero, _ = contact.partition(b"\0")
    if not zero:
        raise BadPacket(f"a contact of more than {CONTACT_BYTES - 1} bytes")
    if not is_contact(name):
        raise BadPacket(f"the contact {name.decode(errors='backslashreplace')!r}: expected HOST:PORT")
    return MessageKind(kind), Registration(name.decode(), _swapped(at_once), _swapped(total), rest)


def is_contact(name: bytes) -> bool:
    match = _CONTACT.fullmatch(name)
    if match is None or not match[1]:
        return match is not None
    try:
        IPv6Address(match[1].decode())
    except ValueError:
        return False
    return True


def answer(kind: MessageKind) -> bytes:
    """ACK or NACK, for the network."""
    return _HEAD.pack(_VERSION, kind).ljust(PACKET_BYTES, b"\0")


def is_ack(packet: bytes) -> bool:
    return len(packet) == PACKET_BYTES and _HEAD.unpack_from(packet) == (_VERSION, MessageKind.ACK)


READY: Final = _HEAD.pack(_VERSION, MessageKind.READY)


def memory_limit(limit_bytes: int) -> bytes:
    """How much a server may use for the buffers of TCP."""
    return _MEMORY.pack(_VERSION, MessageKind.MEMORY, limit_bytes)


def released_limit(message: bytes) -> int | None:
    """The new limit in bytes, if a server says that it needs less than it was given; else None."""
    if len(message) != _MEMORY.size or message[0] != _VERSION:
        return None
    _, kind, limit = _MEMORY.unpack(message)
    if MessageKind.RELEASE in (kind, message[_BROKEN_SENDERS_KIND]):
        return int(limit)
    return None
