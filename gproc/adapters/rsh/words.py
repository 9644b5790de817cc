"""The words of ssh(1).  Pure.

What concerns the connection (keys, ciphers, ports, proxies, files of settings) is read and dropped, because the tree is
the connection.  Options for things that gproc-rsh cannot do are refused: a program that believes that it has a tunnel
would wait for it for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gproc.errors import UsageError

USAGE: Final = "usage: gproc-rsh [OPTIONS] [USER@]HOST [COMMAND...], with the options of ssh(1)"

WITH_VALUE: Final = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
"""Options that take a value, in the same word or in the next: ssh(1) of OpenSSH 9.2."""

WITHOUT_VALUE: Final = frozenset("46AaCfGgKkMNnqsTtVvXxYy")

REFUSED: Final = {
    **dict.fromkeys("DLRW", "forwards no connections"),
    "w": "forwards no devices",
    "f": "does not go into the background: start it there, and add -n",
    "N": "is there to run something",
    "O": "has no master connection, and needs none",
    "G": "has no settings to print",
    "Q": "has no algorithms to list",
}


class SshWords(NamedTuple):
    """What is asked for.

    user: "" if it is not said.  command: joined by blanks, as ssh joins it; "": a shell for a person.
    terminal: whether -t asks for one; None: neither -t nor -T was given.
    subsystem: whether the command is the name of one (-s).
    version: whether only our version is asked for.
    forced: whether -tt asks for a terminal there although there may be none here.
    """

    host: str = ""
    user: str = ""
    command: str = ""
    no_stdin: bool = False
    terminal: bool | None = None
    subsystem: bool = False
    version: bool = False
    forced: bool = False


def words_of(given: Sequence[str]) -> SshWords:
    """Options may be before the host and right behind it, as for ssh.  Raises: UsageError."""
    left = list(given)
    options: dict[str, str] = {}
    _options(left, options)
    if "V" in options:
        return SshWords(version=True)
    if not left:
        raise UsageError(USAGE)
    user, _, host = left.pop(0).rpartition("@")
    _options(left, options)
    for letter, why in REFUSED.items():
        if letter in options:
            raise UsageError(f"-{letter}: gproc-rsh {why}")
    if not host:
        raise UsageError(USAGE)
    subsystem = "s" in options
    if subsystem and left != ["sftp"]:
        raise UsageError("-s: sftp is the only subsystem that gproc-rsh knows")
    asked = options.get("t")
    terminal = None if asked is None else asked.endswith("t")
    forced = asked is not None and asked.endswith("tt")
    command = " ".join(left)
    return SshWords(host, options.get("l", user), command, "n" in options, terminal, subsystem, forced=forced)


def _options(left: list[str], found: dict[str, str]) -> None:
    """Take the options away that stand first, and add them to `found`: by letter, with their values.

    One that takes no value has as many letters there as it was given times; -T is among those of -t.
    """
    while left and left[0].startswith("-") and left[0] != "-":
        letters = left.pop(0)[1:]
        if letters == "-":
            break
        for index, letter in enumerate(letters):
            if letter in WITH_VALUE:
                value = letters[index + 1 :]
                if not value and not left:
                    raise UsageError(f"-{letter} needs a value: {USAGE}")
                found[letter] = value or left.pop(0)
                break
            if letter not in WITHOUT_VALUE:
                raise UsageError(f"-{letter}: ssh has no such option; {USAGE}")
            name = "t" if letter == "T" else letter  # of -t and -T the last one counts: ssh(1)
            found[name] = found.get(name, "") + letter
