"""The policy's file: read when a daemon starts, and again whenever it has changed."""

from __future__ import annotations

import grp
import logging
import os
import pwd
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

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
from gproc.shown import shown_text
from gproc.trust.config import config_text, toml_of

log = logging.getLogger("gproc")

SITE_POLICY: Final = "/etc/gproc/policy.toml"

NOLOGIN: Final = ("/etc/nologin", "/run/nologin")
"""nologin(5), pam_nologin(8)."""


def policy_path(environ: Mapping[str, str]) -> str | None:
    """$GPROC_POLICY, else the site's file if this is root.

    None: no policy.  A daemon of another user can do only what that user can do without it.
    """
    return environ.get("GPROC_POLICY") or (SITE_POLICY if os.geteuid() == 0 else None)


class PolicyFile:
    """What is allowed now."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._stamp: tuple[int, ...] | None = None
        self._policy: Policy | None = None
        self._problem: GprocError | None = None

    def current(self) -> Policy | None:
        """None if there is no file: everything is allowed.

        Raises: GprocError if there is one that cannot be used: nothing is allowed.
        """
        stamp = self._status()
        if stamp != self._stamp:
            self._stamp, self._policy, self._problem = stamp, None, None
            if stamp is not None:
                self._read()
        if self._problem is not None:
            raise self._problem
        if self._policy is not None and self._policy.text.nologin:
            closed = next((path for path in NOLOGIN if os.path.exists(path)), None)
            if closed is not None:
                return msgspec.structs.replace(self._policy, closed=f"this machine has {closed}")
        return self._policy

    def _status(self) -> tuple[int, ...] | None:
        if self.path is None:
            return None
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            return ()
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def _read(self) -> None:
        assert self.path is not None
        try:
            self._policy, unknown = read_policy(self.path)
        except GprocError as error:
            self._problem = TrustError(f"the policy cannot be used, so no job may run: {error}")
            log.error("%s", self._problem)
            return
        log.info("policy %s: %d rules", self.path, len(self._policy.rules))
        for name in unknown:
            log.warning("policy %s: %s", self.path, name)


def read_policy(path: str) -> tuple[Policy, list[str]]:
    """The policy in a file, and a sentence about each name in it that this machine does not know.

    Such a name is nobody's.  Raises: GprocError, which names the file.
    """
    content = config_text(path, frozenset({0, os.geteuid()}))
    if content is None:
        raise UsageError(f"cannot read {path}")
    try:
        text = policy_text(toml_of(path, content))
    except ValueError as error:  # msgspec.ValidationError is one
        raise UsageError(f"{path}: {shown_text(str(error))}") from error
    unknown: list[str] = []
    rules = tuple(rule_of(allow, _people(allow, unknown)) for allow in text.allow)
    operators = tuple(Operators(_people(operate, unknown), frozenset(operate.may)) for operate in text.operate)
    return Policy(text, rules, operators), unknown


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
