"""Postfix expressions, as -myParent, -myId and -myAddress take them (DESIGN section 4).

Words stand between blanks and work on a stack of strings; what is no word is pushed.  What remains is the
answer: one string.  `hostname hostbase` is 47 on a host kn47 (47.lab.org on kn47.lab.org); locale kane's id is

    hostname hostbase dup 20 / swap 20 % dup ifelse

    a b + - * / %     integers; / cuts towards zero and % has the sign of a, as in Go and C
    v r roundup       the least multiple of r that is not below v; r is at least 1
    a b strcat        ab
    x y c ifelse      y where the integer c is not 0, else x
    a dup             a a
    a b swap          b a
    hostname          this host's name
    a hostbase        a without its leading letters, dots, spaces and hyphens
"""

from __future__ import annotations

from typing import Final

from gproc.errors import LocaleError

NUMBER_DIGITS: Final = 18
"""Any 18 digits fit the 64-bit integers of the original; more are no host's number."""

HOST_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ. -"


def evaluate(expression: str, hostname: str) -> str:
    """The value of expression on the host called hostname.

    Raises: LocaleError naming expression, the word that failed and why.
    """
    stack: list[str] = []
    for word in expression.split():
        try:
            _apply(word, stack, hostname)
        except _Refusal as refusal:
            raise LocaleError(f"expression {expression!r}: {word}: {refusal}") from None
    if len(stack) != 1:
        left = f"{len(stack)} values are left ({' '.join(stack)})" if stack else "no value is left"
        raise LocaleError(f"expression {expression!r}: {left}, wanted one")
    return stack[0]


class _Refusal(Exception):
    """Why a word cannot do its work; never leaves this module."""


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
    """The top count values, the topmost last."""
    if len(stack) < count:
        raise _Refusal(f"wants {count} on the stack, where {len(stack) or 'nothing'} is")
    taken = stack[-count:]
    del stack[-count:]
    return taken


def _integer(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= NUMBER_DIGITS):
        raise _Refusal(f"{text!r} is not a whole number of at most {NUMBER_DIGITS} digits")
    return int(text)
