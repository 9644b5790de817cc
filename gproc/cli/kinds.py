"""The kinds of value that switches take: each reads a text into a value, or raises ValueError.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from gproc.errors import UsageError
from gproc.request.signals import can_be_sent

Offer = Literal[
    "", "file", "directory", "command", "locale", "nodes", "node path", "source or node path", "mode", "job",
    "running job",
]
"""The words that shell completion offers for a value or an argument.  "node path": NODES:PATH; "": no words."""


class Kind(msgspec.Struct, frozen=True):
    """A kind of value.

    wanted: the kind in words, as an error message ends: "... is not <wanted>".
    read: makes a value of a text, or raises ValueError.
    takes_value: whether `-switch VALUE` is one switch; otherwise only `-switch` and `-switch=VALUE` are.
    repeats: read returns a tuple, and if the switch is given several times, its tuples are joined.
    is_number: a number in a file needs no quotation marks.
    """

    wanted: str
    read: Callable[[str], object]
    takes_value: bool = True
    repeats: bool = False
    is_number: bool = False


# The words of Go's strconv.ParseBool, which the original's switches accept, and no others.
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")
_FALSE: Final = ("0", "f", "F", "false", "FALSE", "False")

_DIGITS_MAX: Final = 18
"""A number with more digits is refused before it is converted: a signed 64-bit number may not hold it."""

_BYTES_PER_SUFFIX: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _boolean(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(text)


def _digits(text: str) -> int:
    # int() alone would take "1_000", " 7" and digits of other scripts.
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS_MAX:
        raise ValueError(text)
    return int(text)


def _seconds(text: str) -> float:
    whole, _, fraction = text.partition(".")
    if _digits(whole or "0") + _digits(fraction or "0") == 0:
        raise ValueError(text)
    return float(text)


def _size_bytes(text: str) -> int:
    suffix = text[-1:].upper()
    if suffix.isdigit():
        suffix = ""
    size_bytes = _digits(text[: len(text) - len(suffix)]) * _BYTES_PER_SUFFIX.get(suffix, 0)
    if not 0 < size_bytes < 1 << 63:
        raise ValueError(text)
    return size_bytes


def _size_or_none(text: str) -> int:
    return 0 if text == "0" else _size_bytes(text)


def _filled(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def _job_name(text: str) -> str:
    from gproc.records.record import checked_name  # few jobs have names

    try:
        return checked_name(text)
    except UsageError:
        raise ValueError(text) from None


def _signal_number(text: str) -> int:
    """A signal by number or by name, as kill(1) takes it."""
    import signal  # names and numbers only

    if text.isascii() and text.isdigit() and len(text) <= 2:
        number = int(text)
    else:
        name = text.upper()
        found = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
        if found is None:
            raise ValueError(text)
        number = int(found)
    if not can_be_sent(number):
        raise ValueError(text)
    return number


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(text)
    return text


def _elements(text: str) -> tuple[str, ...]:
    # An empty element is dropped: the original's own default is -f="".
    return tuple(element for element in text.split(",") if element)


def _assignment(text: str) -> tuple[str]:
    if not text.partition("=")[0]:
        raise ValueError(text)
    return (text,)


def _one(text: str) -> tuple[str]:
    return (_filled(text),)


def whole(low: int, high: int) -> Kind:
    """A whole number from low to high, both included."""

    def read(text: str) -> int:
        number = -_digits(text[1:]) if text.startswith("-") else _digits(text)
        if not low <= number <= high:
            raise ValueError(text)
        return number

    return Kind(f"a whole number from {low} to {high}", read, is_number=True)


def choice(*words: str) -> Kind:
    """One of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Kind(" or ".join(words), read)


FLAG: Final = Kind("true or false", _boolean, takes_value=False)
TEXT: Final = Kind("a text of at least one character", _filled)
JOB_NAME: Final = Kind(
    "the name of a job, such as night: a letter, and up to 63 more letters, digits, '.', '_' or '-', but not 'last'",
    _job_name,
)
ABSOLUTE_PATH: Final = Kind("an absolute path", _absolute)
SECONDS: Final = Kind("a number of seconds above 0, such as 90 or 1.5", _seconds, is_number=True)
SIZE: Final = Kind("a number of bytes above 0, such as 512M or 2G", _size_bytes, is_number=True)
SIZE_OR_NONE: Final = Kind("a number of bytes, such as 512M or 2G, or 0", _size_or_none, is_number=True)
SIGNAL: Final = Kind(
    "a signal that a job can be sent, such as TERM, KILL, INT, HUP, USR1, CONT or 9", _signal_number, is_number=True
)
END_OR_DETACH: Final = Kind("'end' or 'detach'", choice("end", "detach").read)
ELEMENTS: Final = Kind("a comma-separated list", _elements, repeats=True)
ONE_OF_MANY: Final = Kind("a text of at least one character", _one, repeats=True)
ASSIGNMENT: Final = Kind("NAME=VALUE or NAME", _assignment, repeats=True)
