"""What asyncssh asks while it logs in: whether a host key is right, and a person's password."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import asyncssh

from gproc.shown import reason_of, shown_text
from gproc.start.asking import Asker


class HostKeys:
    """Judges a host key that known_hosts does not have.  One that differs from a known one is refused in any case.

    known: the files that count.  noted_in: the one that new keys are written to.
    differs: whether this one does.  unread: why that cannot be known; then it is refused too.
    """

    def __init__(self, accept_new: bool) -> None:
        self._accept_new = accept_new
        self.known: list[str] = []
        self.noted_in = ""
        self.differs = False
        self.unread = ""

    def accepts(self, host: str, addr: str, port: int, key: str) -> bool:
        try:
            self.differs = known_keys(self.known, host, addr, port)
        except (OSError, ValueError) as error:
            self.unread = reason_of(error)
        if self.differs or self.unread or not self._accept_new:
            return False
        remember(self.noted_in, host, port, key)
        return True


class Login(asyncssh.SSHClient):
    """One connection's.  scope: the time that it has, which does not run while a person types.

    unasked: the host would have taken a password, but there was no terminal to ask at.
    """

    def __init__(self, host: str, keys: HostKeys, asker: Asker, scope: asyncio.Timeout) -> None:
        self.unasked = False
        self._host = host
        self._keys = keys
        self._asker = asker
        self._scope = scope
        self._challenged = True
        self._tried: dict[tuple[str, ...], int] = {}

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection = conn

    @property
    def _user(self) -> str:
        """After the login it is get_extra_info("username")."""
        return str(getattr(self._connection, "_username", ""))

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return self._keys.accepts(host, addr, port, key.export_public_key("openssh").decode())

    async def password_auth_requested(self) -> str | None:
        return await self._answer("password", f"{self._who()}'s password: ", echo=False)

    def kbdint_auth_requested(self) -> str | None:
        """A server without anything to ask in this way refuses at once, each time."""
        self.unasked = self.unasked or not self._asker.can_ask
        useless, self._challenged = not self._challenged, False
        return "" if self._asker.can_ask and not useless else None

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        self._challenged = True
        answers = []
        for text, echo in prompts:
            answer = await self._answer(f"question {text}", f"({self._who()}) {shown_text(text)}", echo=echo)
            if answer is None:
                return None
            answers.append(answer)
        return answers

    async def _answer(self, kind: str, prompt: str, *, echo: bool) -> str | None:
        if not self._asker.can_ask:
            self.unasked = True
            return None
        question = (self._user, kind)
        tried = self._tried.get(question, 0)
        self._tried[question] = tried + 1
        loop = asyncio.get_running_loop()
        ends_s = self._scope.when()
        left_s = None if ends_s is None else ends_s - loop.time()
        self._scope.reschedule(None)
        try:
            return await self._asker.answer(question, tried, prompt, echo=echo)
        finally:
            if left_s is not None:
                self._scope.reschedule(loop.time() + left_s)

    def _who(self) -> str:
        return f"{self._user}@{self._host}"


async def config_of(name: str, user: str) -> asyncssh.SSHClientConnectionOptions:
    """What ssh_config says of a host.  user: at that host, if one is named before it; `Match user` goes by that.

    It is read in a thread, because it may have commands run (`Match exec`).
    Raises: OSError, ValueError, asyncssh.Error if it cannot be read.
    """
    named: dict[str, Any] = {"username": user} if user else {}
    options: asyncssh.SSHClientConnectionOptions
    options = await asyncssh.SSHClientConnectionOptions.construct(host=name, config=(), **named)
    return options


def known_keys(known: list[str], host: str, addr: str, port: int) -> bool:
    """Whether one of these files has any key for the host: then the one that it shows now is another.

    Raises: OSError, ValueError if one of them cannot be read.
    """
    return any(asyncssh.match_known_hosts(known, host, addr, port if port != 22 else None)[:3])


def remember(path: str, host: str, port: int, key: str) -> None:
    """Add a line to a file of known hosts, which is made if it is not there."""
    os.makedirs(os.path.dirname(path) or ".", 0o700, exist_ok=True)
    where = host if port == 22 else f"[{host}]:{port}"
    kind, value = key.split()[:2]
    with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "a") as file:
        file.write(f"{where} {kind} {value}\n")
