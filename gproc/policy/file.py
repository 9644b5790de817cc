"""The policy's file: read when a daemon starts, and again whenever it has changed.

Without a policy everybody may run everything.  So a file counts as absent only if it was not named and nothing is at
its place: neither a file that cannot be used nor a link, its own or one of a directory above, that leads nowhere, as
before a file system is mounted.
"""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import pwd
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from gproc.disk.trusted import leads_nowhere
from gproc.errors import GprocError, TrustError, UsageError
from gproc.policy.rules import (
    EVERYBODY,
    AllowText,
    OperateText,
    Operators,
    People,
    Policy,
    people_of,
    policy_text,
    rule_of,
)
from gproc.shown import reason_of, shown_text
from gproc.trust.config import config_text, toml_of

log = logging.getLogger("gproc")

SITE_POLICY: Final = "/etc/gproc/policy.toml"

NOLOGIN: Final = ("/etc/nologin", "/run/nologin")
"""nologin(5), pam_nologin(8)."""


class PolicyPlace(NamedTuple):
    """Where a policy is.  must_exist: this file was named, so it is a fault if it is missing."""

    path: str
    must_exist: bool


def policy_place(environ: Mapping[str, str]) -> PolicyPlace | None:
    """$GPROC_POLICY, else the site's file if this is root.

    None: no policy.  A daemon of another user can do only what that user can do without it.
    """
    if named := environ.get("GPROC_POLICY"):
        return PolicyPlace(named, True)
    return PolicyPlace(SITE_POLICY, False) if os.geteuid() == 0 else None


class PolicyFile:
    """What is allowed now.  The log says so by `announce`, and when it has changed; what is wrong, at once."""

    def __init__(self, place: PolicyPlace | None) -> None:
        self._place = place
        self._stamp: tuple[int, ...] | None = None
        """The state of the file that was read.  (): there is no policy.  None: it was not read yet."""
        self._policy: Policy | None = None
        self._problem: GprocError | None = None
        self._first: list[tuple[int, str]] | None = []
        """Levels and lines of the log about what was found first; None: they are written."""

    def announce(self) -> None:
        """Say which policy holds: when the daemon is up, because one that cannot start says nothing but the reason."""
        with contextlib.suppress(GprocError):
            self.current()
        lines, self._first = self._first or [], None
        for level, line in lines:
            log.log(level, "%s", line)

    def current(self) -> Policy | None:
        """None if there is no policy: everything is allowed.

        Raises: GprocError if there is one, or should be one, that cannot be used: nothing is allowed.
        """
        if self._place is None:
            return None
        stamp = _stamp_of(self._place)
        if stamp != self._stamp:
            former, self._stamp, self._policy, self._problem = self._stamp, stamp, None, None
            self._first = None if self._first is None else []
            if stamp:
                self._read(self._place)
            elif former is None:
                self._say(logging.INFO, f"no policy: there is no {self._place.path}, so everybody may run everything")
            else:
                log.warning("the policy %s is gone: from now on everybody may run everything", self._place.path)
        if self._problem is not None:
            raise self._problem
        if self._policy is not None and self._policy.text.nologin:
            closed = next((path for path in NOLOGIN if os.path.lexists(path)), None)
            if closed is not None:
                return msgspec.structs.replace(self._policy, closed=f"this machine has {closed}")
        return self._policy

    def _read(self, place: PolicyPlace) -> None:
        try:
            self._policy, unknown = read_policy(place.path, named=place.must_exist)
        except GprocError as error:
            self._problem = TrustError(f"the policy cannot be used, so no job may run: {error}")
            log.error("%s", self._problem)
            return
        self._say(logging.INFO, f"policy {place.path}: {len(self._policy.rules)} rules")
        for name in unknown:
            self._say(logging.WARNING, f"policy {place.path}: {name}")

    def _say(self, level: int, line: str) -> None:
        if self._first is None:
            log.log(level, "%s", line)
        else:
            self._first.append((level, line))


def _stamp_of(place: PolicyPlace) -> tuple[int, ...]:
    """Another one if the file has changed; () if there is no policy."""
    try:
        status = os.stat(place.path)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError) and not place.must_exist and not leads_nowhere(place.path)
        return () if absent else (error.errno or 0,)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_policy(path: str, *, named: bool = False) -> tuple[Policy, list[str]]:
    """The policy in a file, and a sentence about each name in it that this machine does not know.

    Such a name is nobody's.  named: by $GPROC_POLICY.  Raises: GprocError, which names the file.
    """
    try:
        content = config_text(path, frozenset({0, os.geteuid()}))
    except OSError as error:
        raise UsageError(f"cannot read {reason_of(error)}") from error
    if content is None:
        by = ", which GPROC_POLICY names" if named else ""
        raise UsageError(f"cannot read {path}{by}: {_why_absent(path)}")
    try:
        text = policy_text(toml_of(path, content))
    except ValueError as error:  # msgspec.ValidationError is one
        raise UsageError(f"{path}: {shown_text(str(error))}") from error
    unknown: list[str] = []
    rules = tuple(rule_of(allow, _people(allow, unknown)) for allow in text.allow)
    operators = tuple(Operators(_people(operate, unknown), frozenset(operate.may)) for operate in text.operate)
    return Policy(text, rules, operators), unknown


def _why_absent(path: str) -> str:
    if leads_nowhere(path):
        return "it is a link, or is below one, that leads nowhere"
    try:
        os.stat(path)
    except OSError as error:
        return error.strerror or "it is not there"
    return "it is in a directory of another user"


def _people(text: AllowText | OperateText, unknown: list[str]) -> People:
    uids = _numbers(text.users, lambda name: pwd.getpwnam(name).pw_uid, "user", unknown)
    gids = _numbers(text.groups, lambda name: grp.getgrnam(name).gr_gid, "group", unknown)
    return people_of(text, uids, gids)


def _numbers(
    names: Iterable[str | int], number_of: Callable[[str], int], kind: str, unknown: list[str]
) -> frozenset[int]:
    found = set()
    for name in names:
        if isinstance(name, int):
            found.add(name)
        elif name != EVERYBODY or kind == "group":
            try:
                found.add(number_of(name))
            except (KeyError, ValueError):
                unknown.append(f"this machine has no {kind} {shown_text(name)}")
    return frozenset(found)
