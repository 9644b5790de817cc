"""The value of each key: text to what it means.  Pure.

Every function raises ValueError with a clause that says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from gproc.adapters.gfork.access import network_of
from gproc.errors import SpecError
from gproc.nodespec import NodeSpec

DEFAULT_INSTANCES: Final = 100
UNLIMITED: Final = "UNLIMITED"
NICE_RANGE: Final = range(-20, 20)  # setpriority(2)

_ESCAPES: Final = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}


def whole_number(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise ValueError(f"expected a whole number, not {text!r}")
    return int(text)


def _in(numbers: range) -> Callable[[str], int]:
    def check(text: str) -> int:
        number = whole_number(text)
        if number not in numbers:
            raise ValueError(f"{number} is not between {numbers[0]} and {numbers[-1]}")
        return number

    return check


def port(text: str) -> int | str:
    if re.fullmatch(r"[A-Za-z][\w.+-]*", text):
        return text
    return _in(range(65536))(text)


def instances(text: str) -> int | None:
    """0 and less mean the default, as in Globus' gfork."""
    if text.upper() == UNLIMITED:
        return None
    number = whole_number(text)
    return number if number > 0 else DEFAULT_INSTANCES


def per_source(text: str) -> int | None:
    return None if text.upper() == UNLIMITED else _in(range(1, 10**9))(text)


def yes_or_no(text: str) -> bool:
    if text.lower() in ("yes", "y", "true", "t", "on"):
        return True
    if text.lower() in ("no", "n", "false", "f", "off"):
        return False
    raise ValueError(f"expected yes or no, not {text!r}")


def crowded(text: str) -> bytes:
    r"""The words for a client; \r, \n, \t and \\ are what they are in C.  A line that is not ended is ended."""
    said = re.sub(r"\\([rnt\\])", lambda match: _ESCAPES[match[1]], text)
    return (said if said.endswith("\n") else f"{said}\r\n").encode(errors="surrogateescape")


def umask(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{1,3}", text):
        raise ValueError(f"expected up to three octal digits, not {text!r}")
    return int(text, 8)


def path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"expected a path that begins with /, not {text!r}: no PATH is searched")
    return text


def log_file(text: str) -> str:
    if text != "-" and not text.startswith("/"):
        raise ValueError(f"expected a path that begins with /, or -, not {text!r}")
    return text


def name(text: str) -> str:
    if not text or re.search(r"\s", text):
        raise ValueError(f"expected one word, not {text!r}")
    return text


def nodes(text: str) -> str:
    try:
        NodeSpec.parse(text)
    except SpecError as error:
        raise ValueError(f"{text!r} is not a node specification: {error.reason}") from error
    return text


def disable(text: str) -> bool:
    if yes_or_no(text):
        raise ValueError("the service is switched off here: write disable = no")
    return False


def only(*accepted: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in accepted:
            raise ValueError(f"{text!r} cannot be served: {accepted[0]} is all that there is")
        return text

    return check


def variable(word: str) -> None:
    """NAME=VALUE, for a program's environment."""
    if not re.match(r"[^=\0]+=", word):
        raise ValueError(f"{word!r} is not NAME=VALUE: put a value with blanks between ', as in NAME='a b'")


def network(word: str) -> None:
    try:
        network_of(word)
    except ValueError as error:
        raise ValueError(f"{word!r} is neither an address nor a network (10.1.0.0, 10.1.0.0/16, fe80::/10)") from error


VALUES: Final[dict[str, Callable[[str], Any]]] = {
    "config_file": str, "server": path, "port": port, "bind": name, "instances": instances, "per_source": per_source,
    "crowded": crowded, "user": name, "group": name, "groups": yes_or_no, "umask": umask, "nice": _in(NICE_RANGE),
    "master": path, "master-uid": _in(range(10**9)), "protocol": only("tcp", "tcp6"), "socket_type": only("stream"),
    "wait": only("no"), "disable": disable, "id": name, "log_level": _in(range(10)), "log_file": log_file,
    "quiet": yes_or_no, "backends": nodes, "local_bin": yes_or_no,
}  # fmt: skip
"""By key, for keys of one value."""

WORDS: Final[dict[str, Callable[[str], None]]] = {"env": variable, "only_from": network, "no_access": network}
"""By key: what each word of its list must be."""
