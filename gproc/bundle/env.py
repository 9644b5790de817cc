"""The program that `env` runs, if it is the interpreter of a script.  Pure.

Source: GNU coreutils manual, 23.2 env.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from gproc.bundle.env_string import Variable, split_string
from gproc.errors import BundleError

_FLAGS: Final = "i0v"
_WITH_VALUE: Final = "uCa"
_LONG_WITH_VALUE: Final = ("--unset", "--chdir", "--argv0")
_ASSIGNMENT: Final = re.compile(r"[^=]+=", re.DOTALL)


class EnvCommand(msgspec.Struct, frozen=True):
    """The program that env runs; path: the PATH on which env looks for it, None if that is the caller's."""

    program: str
    path: str | None


def is_env(interpreter: str) -> bool:
    return interpreter.rpartition("/")[2] == "env"


def env_command(argument: str, script: str, variable: Variable) -> EnvCommand:
    """The program that `env ARGUMENT SCRIPT` runs; ARGUMENT is one string, as the kernel passes it.

    Raises: BundleError if env would refuse the argument, or would run the script itself once more.
    """
    return _Arguments([argument] if argument else [], script, variable).command()


class _Arguments:
    """The words of one command line of env, taken from the left."""

    def __init__(self, words: list[str], script: str, variable: Variable) -> None:
        self._words = words
        self._script = script
        self._variable = variable
        self._path: str | None = None

    def command(self) -> EnvCommand:
        while self._words and self._words[0].startswith("-"):
            word = self._words.pop(0)
            if word == "--":
                break
            if word.startswith("--"):
                self._long_option(word)
            elif word == "-":
                self._path = ""
            else:
                self._short_options(word[1:])
        while self._words and _ASSIGNMENT.match(self._words[0]):
            name, _, value = self._words.pop(0).partition("=")
            if name == "PATH":
                self._path = value
        if not self._words:
            raise BundleError(f"{self._script}: its #! line runs env without a program")
        return EnvCommand(self._words[0], self._path)

    def _long_option(self, word: str) -> None:
        if word.startswith("--split-string"):
            self._split(self._value(word))
        elif word == "--ignore-environment":
            self._path = ""
        elif word in _LONG_WITH_VALUE:
            self._value(word)

    def _short_options(self, letters: str) -> None:
        for index, letter in enumerate(letters):
            rest = letters[index + 1 :]
            if letter == "i":
                self._path = ""
            elif letter == "S":
                self._split(rest or self._value("-S"))
                return
            elif letter in _WITH_VALUE:
                if (rest or self._value(f"-{letter}")) == "PATH" and letter == "u":
                    self._path = ""
                return
            elif letter not in _FLAGS:
                raise BundleError(
                    f"{self._script}: its #! line gives env the option -{letter}, which env does not know"
                    + ("; env needs -S to take more than one word" if " " in letters else "")
                )

    def _split(self, text: str) -> None:
        self._words = [*split_string(text, self._script, self._variable), *self._words]

    def _value(self, option: str) -> str:
        _, equals, value = option.partition("=")
        if equals:
            return value
        if not self._words:
            raise BundleError(f"{self._script}: its #! line gives env {option} without a value")
        return self._words.pop(0)
