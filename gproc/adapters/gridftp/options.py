"""The command line of gproc-gridftp-master.  Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from gproc.adapters.gfork.switches import BadSwitch, CommandSwitch, read_switches
from gproc.adapters.gfork.values import yes_or_no
from gproc.adapters.gridftp.memory import IDLE, LEAST

SWITCHES: Final = (
    CommandSwitch(("port", "p"), "PORT", "where data nodes register; 0 is any free port (the default)"),
    CommandSwitch(("stripe-count", "s"), "N", "how many data nodes a server gets; 0 is all (the default)"),
    CommandSwitch(("logfile", "l"), "PATH", "where the log is appended; - is stderr (default: no log)"),
    CommandSwitch(("gsi", "G"), "yes|no", "whether both sides show a certificate of the cluster (default: yes)"),
    CommandSwitch(("dn-file", "df", "dn"), "PATH", "the names of the data nodes that may register, each in quotes"),
    CommandSwitch(("reg-cs", "b"), "HOST:PORT", "be the master of a data node, and register it there"),
    CommandSwitch(("update-interval", "u"), "SECONDS", "how often to register again (default: 300)"),
    CommandSwitch(("mem-limit", "m"), "", "limit the servers' memory to the machine's"),
    CommandSwitch(("mem-size", "M"), "SIZE", "limit the servers' memory to this: 512M, 2G"),
    CommandSwitch(("nice-share", "ns"), "N", "how many servers share nine tenths of it (default: 2)"),
    CommandSwitch(("help", "h"), "", "print this, and end"),
)

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SMALLEST_MEMORY: Final = 3 * IDLE + 2 * LEAST
"""Below this not even one server could be served."""


class RegistryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """memory_bytes: 0 for that of the machine, None for no limit.  frontend: host and port, for a data node."""

    port: int = 0
    stripes: int = 0
    log_file: str | None = None
    is_secure: bool = True
    names_file: str | None = None
    frontend: tuple[str, int] | None = None
    interval_s: float = 300.0
    memory_bytes: int | None = None
    sharers: int = 2
    wants_help: bool = False


def master_options(words: Sequence[str]) -> RegistryOptions:
    """Raises: BadSwitch, with what is wrong."""
    found: dict[str, object] = {}
    for name, value in read_switches(words, SWITCHES):
        try:
            match name:
                case "port":
                    found["port"] = number(value, 0, 65535)
                case "stripe-count":
                    found["stripes"] = number(value, 0, 10**6)
                case "logfile":
                    found["log_file"] = value
                case "gsi":
                    found["is_secure"] = yes_or_no(value)
                case "dn-file":
                    found["names_file"] = value
                case "reg-cs":
                    found["frontend"] = host_and_port(value)
                case "update-interval":
                    found["interval_s"] = float(number(value, 1, 86400))
                case "mem-limit":
                    found.setdefault("memory_bytes", 0)
                case "mem-size":
                    found["memory_bytes"] = size_bytes(value)
                case "nice-share":
                    found["sharers"] = number(value, 1, 10**6)
                case _:
                    found["wants_help"] = True
        except ValueError as error:
            raise BadSwitch(f"-{name}: {error}") from error
    return msgspec.convert(found, RegistryOptions)


def number(text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise ValueError(f"expected a whole number from {least} to {most}, not {text!r}")
    return int(text)


def size_bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})([KMGT]?)B?", text.upper())
    if match is None:
        raise ValueError(f"expected a size like 512M or 2G, not {text!r}")
    size = int(match[1]) * _UNITS[match[2]]
    if size < SMALLEST_MEMORY:
        raise ValueError(f"{text} is too little for one server; the least is {-(-SMALLEST_MEMORY >> 20)}M")
    return size


def host_and_port(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([^]]+)\]|([^:\[\]\s]+)):([0-9]{1,5})", text)
    if match is None:
        raise ValueError(f"expected HOST:PORT, not {text!r}")
    return match[1] or match[2], number(match[3], 1, 65535)
