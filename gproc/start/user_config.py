"""What ssh(1) does with the user's ssh_config and asyncssh does not: `%h` and the like in `Match exec`, keys that are
not there, and known hosts of more files than one, some of which may be missing.

asyncssh makes an object of its class for each host and each jump host, and has no argument for either.  So two methods
of that class are replaced.  The names in it are not public: if another version lacks one, that one stays as it is.
"""

from __future__ import annotations

import os
import re
from typing import Any, Final

import asyncssh
from asyncssh.config import SSHClientConfig

from gproc.environment import expanded

_TOKEN: Final = re.compile("%(.)")
_REPLACED: Final = re.compile(r"%.|\$\{[^}]*\}")

_FILES: Final = ("IdentityFile", "CertificateFile")

_USUAL: Final = {
    "UserKnownHostsFile": ("~/.ssh/known_hosts", "~/.ssh/known_hosts2"),
    "GlobalKnownHostsFile": ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"),
}
"""Source: ssh_config(5)."""

_NO_HOSTS: Final = "/dev/null"

_match: Final = getattr(SSHClientConfig, "_match", None)
_get: Final = SSHClientConfig.get


def teach() -> None:
    """Have asyncssh read ssh_config as ssh(1) does.  A second time changes nothing."""
    names = ("_set_tokens", "_handlers", "_error")
    if _match is not None and all(hasattr(SSHClientConfig, name) for name in names):
        SSHClientConfig._handlers["match"] = ("Match", _match_with_tokens)
    SSHClientConfig.get = _get_with_files_that_are_there  # type: ignore[method-assign]


def keys_not_there(options: asyncssh.SSHClientConnectionOptions) -> list[str]:
    """The keys and certificates that ssh_config names for a host and that cannot be read.  options: as it was read."""
    config = getattr(options, "config", None)
    return [] if config is None else [
        each for option in _FILES for each in _files_of(config, option) if not _can_be_read(each)
    ]  # fmt: skip


def file_for_new_hosts(options: asyncssh.SSHClientConnectionOptions) -> str:
    """Where the key of a new host is noted: the first of the user's files of known hosts that count."""
    config = getattr(options, "config", None)
    named = _known_hosts_of(config, "UserKnownHostsFile") if config is not None else _USUAL["UserKnownHostsFile"]
    return expanded(named[0])


def _match_with_tokens(self: Any, option: str, args: list[str]) -> None:
    """Replace the tokens of `exec` by what is known of the host so far, and go on as usual.

    As in ssh(1), an unknown token is an error only if all conditions before it hold: otherwise the line is about other
    hosts.
    """
    assert _match is not None
    commands = [index for index, word in enumerate(args[:-1], 1) if word.lower() in ("exec", "!exec")]
    if any("%" in args[index] for index in commands):
        tokens = _tokens(self)
        for index in commands:
            unknown = next((each[0] for each in _TOKEN.finditer(args[index]) if each[1] not in tokens), None)
            if unknown is not None:
                _match(self, option, args[: index - 1])
                if self._matching:
                    self._error(f"{unknown} in Match exec is not known")
                args.clear()
                return
            args[index] = _TOKEN.sub(lambda token: tokens[token[1]], args[index])
    _match(self, option, args)


def _tokens(config: Any) -> dict[str, str]:
    before = dict(config._tokens)
    config._set_tokens()
    found = {"k": _get(config, "HostKeyAlias") or config._tokens["n"], "j": _get(config, "ProxyJump") or ""}
    found |= config._tokens
    config._tokens = before
    return {name: str(value) for name, value in found.items()}


class _NoKeys(list[str]):
    """asyncssh takes an empty list for one that was not named, and goes on with the usual keys."""

    def __bool__(self) -> bool:
        return True


def _get_with_files_that_are_there(self: Any, option: str, default: object = None) -> object:
    """ssh(1) goes on without a key that it cannot read, and has the usual ones only if none is named."""
    match option:
        case "IdentityFile" if isinstance(_get(self, option), list):
            return _keys_of(self) or _NoKeys()
        case "CertificateFile" if named := _files_of(self, option):
            return [each for each in named if _can_be_read(each)] or default
        case "IdentityAgent" if _get(self, "IdentitiesOnly") and isinstance(_get(self, "IdentityFile"), list):
            # Of none asyncssh would make all that the agent has.
            return _get(self, option, default) if _keys_of(self) else ""
        case "UserKnownHostsFile":
            # One that cannot be read stays: it might tell that the host has another key.  If the list is empty,
            # asyncssh accepts any key.
            there = [each for each in _known_hosts_of(self, option) if os.path.lexists(expanded(each))]
            return there or [_NO_HOSTS]
        case "GlobalKnownHostsFile":
            return [each for each in _known_hosts_of(self, option) if _can_be_read(each)]
    return _get(self, option, default)


def _known_hosts_of(config: Any, option: str) -> list[str]:
    """The files that are named for this, or else the usual ones.

    "UserKnownHostsFile none" means these too: ssh(1) asks a person about each key then, and we could not ask.
    """
    named = _files_of(config, option)
    if not named and (option == "UserKnownHostsFile" or _get(config, option) is None):
        return list(_USUAL[option])
    return [_replaced(config, option, each) for each in named]


def _replaced(config: Any, option: str, path: str) -> str:
    """A path with its tokens and variables replaced.

    Raises: ValueError if one is not known: a file that is not there would count as one without any hosts.
    """
    if "%" not in path and "${" not in path:
        return path
    known = {f"%{name}": value for name, value in _tokens(config).items()} | {"%%": "%"}
    known |= {"${" + name + "}": value for name, value in os.environ.items()}
    unknown = next((each[0] for each in _REPLACED.finditer(path) if each[0] not in known), None)
    if unknown is not None:
        raise ValueError(f"{unknown} in {option} {path} is not known")
    return _REPLACED.sub(lambda each: known[each[0]], path)


def _keys_of(config: Any) -> list[str]:
    """The keys that can be read; with IdentitiesOnly also the public halves of keys that cannot."""
    found = []
    for each in _files_of(config, "IdentityFile"):
        if _can_be_read(each):
            found.append(each)
        elif _get(config, "IdentitiesOnly") and _can_be_read(f"{each}.pub"):
            found.append(f"{each}.pub")
    return found


def _files_of(config: Any, option: str) -> list[str]:
    named = _get(config, option)
    return [each for each in named if isinstance(each, str)] if isinstance(named, list) else []


def _can_be_read(path: str) -> bool:
    try:
        with open(expanded(path), "rb"):
            return True
    except OSError:
        return False
