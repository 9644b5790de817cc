"""Postfix expressions, as -myParent, -myId and -myAddress take them.

An expression has words between blanks.  The words below work on a stack of strings; any other word is pushed.  At the
end the stack must hold one string: the value.  `hostname hostbase` is 47 on a host kn47 (47.lab.org on kn47.lab.org).
The id in locale kane is

    hostname hostbase dup 20 / swap 20 % dup ifelse

    a b + - * / %     integers; / truncates towards zero and % has the sign of a, as in Go and C
    v r roundup       the least multiple of r that is not below v; r is at least 1
    a b strcat        ab
    x y c ifelse      y if the integer c is not 0, else x
    a dup             a a
    a b swap          b a
    hostname          this host's name
    a hostbase        a without its leading letters, dots, spaces and hyphens
"""

from __future__ import annotations

from typing import Final

from gproc.errors import PlacementError
from gproc.shown import quoted_text

NUMBER_DIGITS: Final = 18
"""18 digits always fit the 64-bit integers of the original; no host has a longer number."""

HOST_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ. -"


def evaluate(expression: str, hostname: str) -> str:
    """The value of the expression on the host called hostname.

    Raises: PlacementError, which names the expression, the word that failed and the reason.
    """
    stack: list[str] = []
    for word in expression.split():
        try:
            _apply(word, stack, hostname)
        except _Refusal as refusal:
            raise PlacementError(f"expression {quoted_text(expression)}: {word}: {refusal}") from None
    if len(stack) != 1:
        left = f"{len(stack)} values are left ({' '.join(stack)})" if stack else "no value is left"
        raise PlacementError(f"expression {quoted_text(expression)}: {left}, expected one")
    return stack[0]


class _Refusal(Exception):
    """Why a word cannot be applied; never leaves this module."""


def _apply(word: str, stack: list[str], hostname: str) -> None:
    match word:
        case "+" | "-" | "*" | "/" | "%" | "roundup":
            left, right = _take(stack, 2)
            stack.append(str(_calculate(word, _integer(left), _integer(right))))
        case "strcat":
            left, right = _take(stack, 2)
            stack.append(left + right)
        case "ifelse":
            otherwise, then, condition = _take(stack, 3)
            stack.append(then if _integer(condition) else otherwise)
        case "dup":
            (value,) = _take(stack, 1)
            stack += [value, value]
        case "swap":
            left, right = _take(stack, 2)
            stack += [right, left]
        case "hostname":
            stack.append(hostname)
        case "hostbase":
            (value,) = _take(stack, 1)
            stack.append(value.lstrip(HOST_LETTERS))
        case _:
            stack.append(word)


def _calculate(word: str, left: int, right: int) -> int:
    match word:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return _quotient(left, right)
        case "%":
            return left - _quotient(left, right) * right
        case _:
            if right < 1:
                raise _Refusal(f"cannot round up to a multiple of {right}")
            return -(-left // right) * right


def _quotient(left: int, right: int) -> int:
    if right == 0:
        raise _Refusal("division by zero")
    magnitude = abs(left) // abs(right)
    return magnitude if (left < 0) == (right < 0) else -magnitude


def _take(stack: list[str], count: int) -> list[str]:
    """Pop the top `count` values; the topmost is the last."""
    if len(stack) < count:
        raise _Refusal(f"needs {count} on the stack, which has {len(stack) or 'none'}")
    taken = stack[-count:]
    del stack[-count:]
    return taken


def _integer(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= NUMBER_DIGITS):
        raise _Refusal(f"{quoted_text(text)} is not a whole number of at most {NUMBER_DIGITS} digits")
    return int(text)
