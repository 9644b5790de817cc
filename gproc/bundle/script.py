"""`#!` lines and what `env` makes of them.  Pure.

Sources: execve(2), "Interpreter scripts"; fs/binfmt_script.c; GNU coreutils manual, 23.2 env, "-S/--split-string".
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final

import msgspec

from gproc.errors import BundleError

LINE_BYTES: Final = 256
"""What the kernel reads of a file to find its interpreter (BINPRM_BUF_SIZE since Linux 5.1)."""
DEPTH_MAX: Final = 5
"""Interpreters of interpreters before ELOOP: fs/exec.c, exec_binprm."""

Variable = Callable[[str], str | None]


class Shebang(msgspec.Struct, frozen=True):
    """interpreter: a path as written; argument: all that follows it, or "", blanks at both ends removed."""

    interpreter: str
    argument: str


class EnvCommand(msgspec.Struct, frozen=True):
    """The program that env runs; path: the PATH it is sought in, None where that is the caller's."""

    program: str
    path: str | None


def shebang(head: bytes, script: str) -> Shebang | None:
    """The interpreter that the first `LINE_BYTES` of a file name, or None where they name none.

    Raises: BundleError where the line is longer than the kernel reads, or names nothing.
    """
    if not head.startswith(b"#!"):
        return None
    line, end, _ = head[2:LINE_BYTES].partition(b"\n")
    text = line.strip(b" \t")
    interpreter, _, argument = text.replace(b"\t", b" ", 1).partition(b" ")
    if not end and len(head) >= LINE_BYTES and not argument:
        raise BundleError(f"{script}: its #! line is longer than the {LINE_BYTES} bytes that the kernel reads")
    if not interpreter:
        raise BundleError(f"{script}: its #! line names no interpreter")
    return Shebang(os.fsdecode(interpreter), os.fsdecode(argument.strip(b" \t")))


def is_env(interpreter: str) -> bool:
    return interpreter.rpartition("/")[2] == "env"


_FLAGS: Final = "i0v"
_WITH_VALUE: Final = "uCa"
_LONG_WITH_VALUE: Final = ("--unset", "--chdir", "--argv0")
_ASSIGNMENT: Final = re.compile(r"[^=]+=", re.DOTALL)


def env_command(argument: str, script: str, variable: Variable) -> EnvCommand:
    """What `env ARGUMENT SCRIPT` runs, where ARGUMENT is one string, as the kernel passes it.

    Raises: BundleError where env would refuse it, or would run the script itself once more.
    """
    words = [argument] if argument else []
    path: str | None = None
    while words:
        word = words.pop(0)
        if word == "--":
            break
        if word == "-":
            path = ""
        elif word.startswith("--split-string"):
            words = [*split_string(_value(word, words, script), script, variable), *words]
        elif word.startswith("--"):
            if word == "--ignore-environment":
                path = ""
            if word in _LONG_WITH_VALUE:
                _value(word, words, script)
        elif word.startswith("-"):
            path, words = _short_options(word[1:], words, path, script, variable)
        else:
            words.insert(0, word)
            break
    while words and _ASSIGNMENT.match(words[0]):
        name, _, value = words.pop(0).partition("=")
        path = value if name == "PATH" else path
    if not words:
        raise BundleError(f"{script}: its #! line runs env without a program")
    return EnvCommand(words[0], path)


def _short_options(
    letters: str, words: list[str], path: str | None, script: str, variable: Variable
) -> tuple[str | None, list[str]]:
    for index, letter in enumerate(letters):
        rest = letters[index + 1 :]
        if letter == "i":
            path = ""
        elif letter == "S":
            text = rest or _value("-S", words, script)
            return path, [*split_string(text, script, variable), *words]
        elif letter in _WITH_VALUE:
            name = rest or _value(f"-{letter}", words, script)
            return "" if letter == "u" and name == "PATH" else path, words
        elif letter not in _FLAGS:
            raise BundleError(
                f"{script}: its #! line gives env the option -{letter}, which it does not know"
                + ("; env needs -S to take more than one word" if " " in letters else "")
            )
    return path, words


def _value(option: str, words: list[str], script: str) -> str:
    _, equals, value = option.partition("=")
    if equals:
        return value
    if not words:
        raise BundleError(f"{script}: its #! line gives env {option} without a value")
    return words.pop(0)


_ESCAPES: Final = {"f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"} | {each: each for each in "#$\"'\\"}
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def split_string(text: str, script: str, variable: Variable) -> list[str]:
    """The words that env -S makes of a string: quotes, escapes, ${NAME}, and # for the rest of the line."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    index = 0
    while index < len(text):
        character = text[index]
        index += 1
        if quote == "'" and character == "\\" and text[index : index + 1] not in ("'", "\\"):
            word = (word or "") + character
        elif character == "\\":
            escaped = text[index : index + 1]
            index += 1
            if escaped == "c" and not quote:
                break
            if escaped == "_" and not quote:
                words, word = ([*words, word], None) if word is not None else (words, None)
            elif escaped == "_":
                word = (word or "") + " "
            elif escaped in _ESCAPES:
                word = (word or "") + _ESCAPES[escaped]
            else:
                raise BundleError(f"{script}: its #! line gives env -S \\{escaped}, which it does not know")
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote, word = character, word or ""
        elif character == "$" and quote != "'":
            reference = _REFERENCE.match(text, index - 1)
            if reference is None:
                raise BundleError(f"{script}: its #! line gives env -S a $ that is no ${{NAME}}")
            value = variable(reference[1])
            word = (word or "") + value if value is not None else word
            index = reference.end()
        elif not quote and character in " \t\n\v\f\r":
            words, word = ([*words, word], None) if word is not None else (words, None)
        elif not quote and character == "#" and word is None:
            break
        else:
            word = (word or "") + character
    if quote:
        raise BundleError(f"{script}: its #! line gives env -S a string whose {quote} does not end")
    return words if word is None else [*words, word]
