"""Postfix expressions: each word, then any arithmetic compared with its definition."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import LocaleError
from gproc.locales.postfix import evaluate

KANE_ID = "hostname hostbase dup 20 / swap 20 % dup ifelse"
KANE_PARENT = "10.1.254.254 kn hostname hostbase 20 roundup strcat hostname hostbase 20 % ifelse"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("hostname", "kn47"),
        ("hostname hostbase", "47"),
        ("front", "front"),
        ("2 3 +", "5"),
        ("2 3 -", "-1"),
        ("4 5 *", "20"),
        ("47 20 /", "2"),
        ("47 20 %", "7"),
        ("-7 2 /", "-3"),
        ("-7 2 %", "-1"),
        ("7 -2 %", "1"),
        ("47 20 roundup", "60"),
        ("40 20 roundup", "40"),
        ("0 20 roundup", "0"),
        ("-47 20 roundup", "-40"),
        ("ab cd strcat", "abcd"),
        ("no yes 1 ifelse", "yes"),
        ("no yes 0 ifelse", "no"),
        ("no yes -1 ifelse", "yes"),
        ("a dup strcat", "aa"),
        ("a b swap strcat", "ba"),
        ("node-007 hostbase 1 +", "8"),
        ("Rack.b-12 hostbase", "12"),
        ("  10.0.0.  hostname   hostbase strcat ", "10.0.0.47"),
        (KANE_PARENT, "kn60"),
    ],
)
def test_each_word_has_its_documented_effect(expression: str, value: str) -> None:
    assert evaluate(expression, "kn47") == value


@pytest.mark.parametrize(("hostname", "id_"), [("kn1", "1"), ("kn19", "19"), ("kn20", "1"), ("kn80", "4")])
def test_the_kane_rule_can_be_written_in_postfix(hostname: str, id_: str) -> None:
    assert evaluate(KANE_ID, hostname) == id_


@pytest.mark.parametrize(
    ("expression", "word", "reason"),
    [
        ("", "", "no value is left"),
        ("1 2", "", "2 values are left (1 2), expected one"),
        ("+", "+", "needs 2 on the stack, which has none"),
        ("1 +", "+", "needs 2 on the stack, which has 1"),
        ("a b ifelse", "ifelse", "needs 3"),
        ("dup", "dup", "needs 1"),
        ("kn 2 *", "*", "'kn' is not a whole number"),
        ("1 ² +", "+", "'²' is not a whole number"),
        ("1_0 2 +", "+", "'1_0' is not a whole number"),
        ("a b c ifelse", "ifelse", "'c' is not a whole number"),
        ("1 0 /", "/", "division by zero"),
        ("1 0 %", "%", "division by zero"),
        ("1 0 roundup", "roundup", "cannot round up to a multiple of 0"),
        ("9999999999999999999 1 +", "+", "at most 18 digits"),
    ],
)
def test_an_error_names_the_expression_the_word_and_why(expression: str, word: str, reason: str) -> None:
    with pytest.raises(LocaleError, match=re.escape(reason)) as caught:
        evaluate(expression, "kn47")
    assert repr(expression) in str(caught.value)
    assert f"{word}" in str(caught.value)


def applied(word: str, left: int, right: int) -> int:
    """The reference: int(left / right) without floats, and the first multiple found by counting."""
    if word in "/%":
        quotient = next(q for q in range(-200, 201) if is_quotient(q, left, right))
        return quotient if word == "/" else left - quotient * right
    if word == "roundup":
        return next(multiple for multiple in range(left, left + right) if multiple % right == 0)
    return {"+": left + right, "-": left - right, "*": left * right}[word]


def is_quotient(candidate: int, left: int, right: int) -> bool:
    """The remainder is smaller than the divisor, and is 0 or has the sign of the dividend."""
    rest = left - candidate * right
    return abs(rest) < abs(right) and (rest == 0 or (rest < 0) == (left < 0))


small = st.integers(-100, 100)


@given(st.sampled_from(["+", "-", "*", "/", "%", "roundup"]), small, small, st.lists(st.sampled_from("xyz")))
def test_arithmetic_agrees_with_its_definition(word: str, left: int, right: int, below: list[str]) -> None:
    expression = f"{left} {right} {word}"
    if (word in "/%" and right == 0) or (word == "roundup" and right < 1):
        with pytest.raises(LocaleError):
            evaluate(expression, "host")
    else:
        deeper = " ".join([*below, expression, *["strcat"] * len(below)])
        assert evaluate(deeper, "host") == "".join(below) + str(applied(word, left, right))


@given(st.text(alphabet="01-+*/% adupswroun.", max_size=30))
def test_any_text_has_a_value_or_a_locale_error(expression: str) -> None:
    try:
        evaluate(expression, "kn47")
    except LocaleError as error:
        assert repr(expression) in str(error)


@given(
    st.from_regex(r"[a-zA-Z. -]{0,8}", fullmatch=True),
    st.from_regex(r"([0-9][a-z0-9.]{0,4})?", fullmatch=True),
)
def test_hostbase_strips_letters_dots_spaces_and_hyphens_in_front(front: str, rest: str) -> None:
    assert evaluate("hostname hostbase", front + rest) == rest
