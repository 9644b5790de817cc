"""The rules of a policy: who may run what on which nodes, and how much of it.  Pure.

Without a policy everything is allowed.  With one, only what a rule allows is: the first rule that names the user (or a
group of the user's), the action and the node decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Final, Literal

import msgspec

from gproc.errors import SpecError, TrustError
from gproc.nodespec import NodeSpec, Place, fold
from gproc.request.limits import PROCS_MAX, Limits
from gproc.request.spec import Caller, Request, UserNumber

PolicyAction = Literal["run", "localbin", "cp", "get"]
ACTIONS: Final[tuple[PolicyAction, ...]] = ("run", "localbin", "cp", "get")

PolicyOversight = Literal["see", "output", "kill", "drain"]
"""What may be done with jobs of others: to know of them and how they end; to see what they write; to signal them; and
to keep new ones from nodes."""

EVERYBODY: Final = "*"

Count = Annotated[int, msgspec.Meta(ge=1, le=2**40)]


class PolicyRefused(TrustError):
    """The policy does not allow a job."""


class AllowText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One [[allow]] of the file.

    users, groups: names or numbers; users = ["*"] is everybody.  nodes: a node specification; "" is all.
    jobs: how many a user may have at once, at the master.  processes, memory_mib: of one job on one node.
    """

    users: tuple[str | UserNumber, ...] = ()
    groups: tuple[str | UserNumber, ...] = ()
    nodes: str = ""
    actions: tuple[PolicyAction, ...] = ACTIONS
    jobs: Count | None = None
    processes: Annotated[int, msgspec.Meta(ge=1, le=PROCS_MAX)] | None = None
    memory_mib: Count | None = None


class OperateText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One [[operate]] of the file: who may do what with the jobs of all users, at the master."""

    users: tuple[str | UserNumber, ...] = ()
    groups: tuple[str | UserNumber, ...] = ()
    may: Annotated[tuple[PolicyOversight, ...], msgspec.Meta(min_length=1)] = ("see", "kill")


class PolicyLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[limits] of the file: what users have of the master, and of each machine's store.  None: as gproc has it.

    user_records, all_records, record_days: as of `gproc.records.record.Keeping`.  .._spool_mib: of jobs' output that
    is kept.  user_store_mib, user_store_files: of programs and files that a store has for one user; None: no bound.
    """

    user_connections: Count | None = None
    user_memory_mib: Count | None = None
    all_memory_mib: Count | None = None
    user_records: Count | None = None
    all_records: Count | None = None
    record_days: Count | None = None
    user_spool_mib: Count | None = None
    all_spool_mib: Count | None = None
    user_store_mib: Count | None = None
    user_store_files: Count | None = None


class PolicyText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file.

    root: whether jobs of uid 0 are judged by the rules; else they are refused.  nologin: whether jobs of other users
    are refused while the machine has /etc/nologin or /run/nologin.  pam: the service as which PAM is asked about each
    user's account (pam_acct_mgmt(3)); "": PAM is not asked.  audit: where records go: "syslog", "stderr", a
    path, or "" for nowhere.
    """

    root: bool = False
    nologin: bool = False
    pam: Annotated[str, msgspec.Meta(pattern=r"\A([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?\Z")] = ""
    audit: str = ""
    allow: tuple[AllowText, ...] = ()
    operate: tuple[OperateText, ...] = ()
    limits: PolicyLimits = PolicyLimits()


class People(msgspec.Struct, frozen=True):
    """Users and groups by number.  uids: None is everybody."""

    uids: frozenset[int] | None
    gids: frozenset[int]

    def include(self, caller: Caller) -> bool:
        if self.uids is None or caller.uid in self.uids:
            return True
        return not self.gids.isdisjoint((caller.gid, *caller.groups))


class Rule(msgspec.Struct, frozen=True):
    """An `AllowText` whose names are numbers.  nodes: None is all."""

    people: People
    nodes: NodeSpec | None
    actions: frozenset[PolicyAction]
    jobs: int | None
    processes: int | None
    memory_bytes: int | None

    def fits(self, place: Place) -> bool:
        return self.nodes is None or self.nodes.selects(place)


class Operators(msgspec.Struct, frozen=True):
    """An `OperateText` whose names are numbers."""

    people: People
    may: frozenset[PolicyOversight]


class Policy(msgspec.Struct, frozen=True):
    """A policy whose text was read.  closed: the reason why no user but root may log in now; "" if there is none."""

    text: PolicyText
    rules: tuple[Rule, ...]
    operators: tuple[Operators, ...] = ()
    closed: str = ""

    def lets(self, caller: Caller, oversight: PolicyOversight) -> bool:
        """Whether a caller may do this with the jobs of others.  To see a job is part of all else."""
        granted = [each.may for each in self.operators if each.people.include(caller)]
        return any(oversight in may or oversight == "see" for may in granted)

    def apply(self, caller: Caller, request: Request, places: Collection[Place], running: int = 0) -> Request:
        """The request as it may run at these places.

        running: how many jobs the caller has already.  Raises: PolicyRefused with the reason.
        """
        if caller.uid == 0 and not self.text.root:
            raise PolicyRefused("the policy does not let root run jobs")
        if caller.uid != 0 and self.closed:
            raise PolicyRefused(self.closed)
        action = action_of(request)
        rules = [rule for rule in self.rules if action in rule.actions and rule.people.include(caller)]
        if not rules:
            raise PolicyRefused(f"the policy does not let uid {caller.uid} {_DOES[action]}")
        used: dict[Rule, None] = {}
        refused = []
        for place in places:
            rule = next((rule for rule in rules if rule.fits(place)), None)
            if rule is None:
                refused.append(place)
            else:
                used[rule] = None
        if refused:
            raise PolicyRefused(f"the policy does not let uid {caller.uid} {_DOES[action]} on {fold(refused)}")
        most = _least(rule.jobs for rule in used)
        if most is not None and running >= most:
            raise PolicyRefused(f"the policy lets uid {caller.uid} have {most} jobs at once, and so many run already")
        limits = _tightened(request.limits, used)
        return request if limits == request.limits else msgspec.structs.replace(request, limits=limits)


_DOES: Final[dict[PolicyAction, str]] = {
    "run": "run programs", "localbin": "run the nodes' own programs", "cp": "copy files to nodes",
    "get": "fetch files from nodes",
}  # fmt: skip


def action_of(request: Request) -> PolicyAction:
    """What a request does, in the policy's words."""
    match request.action:
        case "place":
            return "cp"
        case "collect":
            return "get"
        case "run" | "map":
            return "localbin" if request.bundle is None else "run"


def policy_text(content: dict[str, Any]) -> PolicyText:
    """The file's content as a value.  Raises: ValueError with one sentence."""
    text = msgspec.convert(content, PolicyText)
    for number, rule in enumerate(text.allow, 1):
        if not rule.users and not rule.groups:
            raise ValueError(f'[[allow]] number {number} names neither users nor groups; users = ["*"] is everybody')
        try:
            NodeSpec.parse(rule.nodes or ".")
        except SpecError as error:
            raise ValueError(f"[[allow]] number {number}: {error}") from error
    for number, operate in enumerate(text.operate, 1):
        if not operate.users and not operate.groups:
            raise ValueError(f"[[operate]] number {number} names neither users nor groups")
    if text.audit not in ("", "syslog", "stderr") and not text.audit.startswith("/"):
        raise ValueError(f'audit is {text.audit!r}: "syslog", "stderr" or an absolute path is wanted')
    return text


def people_of(text: AllowText | OperateText, uids: frozenset[int], gids: frozenset[int]) -> People:
    """uids, gids: the numbers of the users and groups that it names."""
    return People(None if EVERYBODY in text.users else uids, gids)


def rule_of(allow: AllowText, people: People) -> Rule:
    return Rule(
        people,
        NodeSpec.parse(allow.nodes) if allow.nodes else None,
        frozenset(allow.actions),
        allow.jobs,
        allow.processes,
        None if allow.memory_mib is None else allow.memory_mib << 20,
    )


def _tightened(limits: Limits, rules: Iterable[Rule]) -> Limits:
    rules = list(rules)
    return msgspec.structs.replace(
        limits,
        max_procs=_least((limits.max_procs, *(rule.processes for rule in rules))),
        mem_bytes=_least((limits.mem_bytes, *(rule.memory_bytes for rule in rules))),
    )


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
