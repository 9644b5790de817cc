"""What a caller of the library gave as keywords: checked before anything is sent.

The master ends a connection on which it cannot read a message, and with it every job of the program.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

import msgspec

from gproc.errors import UsageError
from gproc.request.spec import TIMEOUT_MAX_S, Request

_KEYWORDS = {"timeout_s": "timeout", "soft": "rlimits", "own_cwd": "node_cwd"}
"""The keywords of fields that have another name."""

FilePath = str | os.PathLike[str]
FilePaths = FilePath | Sequence[FilePath]

_CAPTURED = "output is always captured"
_BYTES = "output and input are bytes here; run has text"
_OF_SUBPROCESS = {
    "capture_output": _CAPTURED, "stdout": _CAPTURED, "stderr": _CAPTURED,
    "text": _BYTES, "encoding": _BYTES, "errors": _BYTES, "universal_newlines": _BYTES,
}  # fmt: skip
"""Why subprocess has this keyword and the call does not."""

_STEP = re.compile(r"\[(\d+)\]|\.(\w+)")


def check_keywords(given: Iterable[str], known: Iterable[str]) -> None:
    """Raises: TypeError, as Python does for a keyword that a function does not have."""
    if unknown := sorted(set(given) - set(known)):
        from difflib import get_close_matches

        close = get_close_matches(unknown[0], list(known), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        if why := _OF_SUBPROCESS.get(unknown[0]):
            hint = f": {why}"
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}{hint}")


def check_nodes(nodes: str, keyword: str = "nodes") -> None:
    """Raises: TypeError, for example for a number or a list of numbers, the likeliest mistakes."""
    if not isinstance(nodes, str):
        raise TypeError(f"{keyword} must be a text, such as '1-80' or './.', not {type(nodes).__name__}")


def paths_of(paths: FilePaths) -> tuple[str, ...]:
    """One path, or several: a text is one path, and not a sequence of letters.  Raises: TypeError."""
    several = (paths,) if isinstance(paths, str | os.PathLike) else paths
    return tuple(os.fspath(path) for path in several)


def check_variables(names: Iterable[str | bytes]) -> None:
    """Raises: ValueError, as subprocess does."""
    for name in names:
        if not isinstance(name, str | bytes):
            raise TypeError(f"the name of a variable must be str or bytes, not {type(name).__name__}")
        equals: str | bytes = "=" if isinstance(name, str) else b"="
        if not name or equals in name:  # type: ignore[operator]
            raise ValueError(f"illegal environment variable name {name!r}")


def time_limit(seconds: float | None) -> float | None:
    """None: for ever, and so is an infinite one.  A negative timeout counts as 0.  Raises: TypeError, UsageError."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"timeout must be a number of seconds, not {type(seconds).__name__}")
    if math.isnan(seconds):
        raise UsageError("timeout is not a number")
    if seconds > TIMEOUT_MAX_S:
        if seconds == math.inf:
            return None
        raise UsageError(f"timeout is more than {TIMEOUT_MAX_S:g} s: None is for ever")
    return max(0.0, float(seconds))


def checked_request(request: Request) -> Request:
    """Check that the master can read the request, and return it.  Raises: TypeError, UsageError, which name the
    field."""
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=Request)
    except OverflowError:
        raise UsageError("a number is too large to be sent") from None
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        reason, _, place = str(error).partition(" - at ")
        said = f"{_field(place)}: {reason}" if place else reason
        wrong_kind = isinstance(error, TypeError) or ", got " in reason
        raise (TypeError if wrong_kind else UsageError)(said) from None
    return request


def _field(place: str) -> str:
    """The name of the innermost field.  place: as msgspec has it, `$[12][3]`: by positions, as structs are arrays."""
    kind: Any = Request
    name = "request"
    for position, _ in _STEP.findall(place):
        struct = next((each for each in (kind, *get_args(kind)) if isinstance(each, type(Request))), None)
        if struct is None or not position:
            break
        field = msgspec.structs.fields(struct)[int(position)]
        name, kind = field.name, field.type
    return _KEYWORDS.get(name, name)
