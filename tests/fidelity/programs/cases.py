"""The cases as values, and where they are known to fail: `cases.toml`, `failing.toml`."""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path
from typing import Final, Literal

import msgspec

HERE: Final = Path(__file__).parent


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of `cases.toml`, whose head explains the fields."""

    name: str
    kind: str
    run: list[str]
    setup: str = ""
    needs: list[str] = []
    at: Literal["home", "opt", "tmp", "top"] = "home"
    switches: list[str] = []
    env: dict[str, str] = {}
    stdin: str = ""
    ci: bool = False

    def lacking(self, words: dict[str, str]) -> str:
        """What of `needs` this machine does not have; "" if it has all."""
        for need in self.needs:
            path = filled(need, words)
            there = os.path.exists(path) if path.startswith("/") else shutil.which(path, path="/usr/bin:/bin:/usr/sbin")
            if not there:
                return need
        return ""


def filled(text: str, words: dict[str, str]) -> str:
    """`$D` is the case's directory, `$HOME` the home, `$PYENV` where pyenv's Python is."""
    for name, value in words.items():
        text = text.replace(f"${name}", value)
    return text


def cases() -> list[Case]:
    with open(HERE / "cases.toml", "rb") as file:
        return msgspec.convert(tomllib.load(file)["case"], list[Case])


def failing() -> dict[str, dict[str, str]]:
    """Node -> case -> why it fails there."""
    with open(HERE / "failing.toml", "rb") as file:
        return msgspec.convert(tomllib.load(file), dict[str, dict[str, str]])
