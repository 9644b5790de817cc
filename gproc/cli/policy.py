"""`gproc policy check [FILE]`: says whether master and slaves can use a policy, and what it holds."""

from __future__ import annotations

import os
from typing import Final

import msgspec

from gproc.cli.options import PolicyOptions
from gproc.cli.trace import Trace
from gproc.errors import UsageError
from gproc.policy.file import SITE_POLICY, PolicyPlace, policy_place, read_policy
from gproc.policy.rules import EVERYBODY, AllowText, OperateText
from gproc.shown import count_text, quoted_text, shown_text

PAM_FOLDERS: Final = ("/etc/pam.d", "/usr/lib/pam.d")
"""pam.d(5)."""


def run(options: PolicyOptions) -> int:
    """Raises: GprocError with what is wrong."""
    if options.what != "check":
        raise UsageError(f"there is no gproc policy {quoted_text(options.what)}: 'gproc policy check' is wanted")
    given = PolicyPlace(options.file[0], False) if options.file else policy_place(os.environ)
    path, is_named = given or PolicyPlace(SITE_POLICY, False)
    trace = Trace(options.debug)
    trace.step(f"reads {path}")
    policy, unknown = read_policy(path, named=is_named)
    print(shown_text(f"{path}: {len(policy.rules)} rules, root {'too' if policy.text.root else 'may run nothing'}"))
    for number, allow in enumerate(policy.text.allow, 1):
        print(shown_text(f"{number}. {_who(allow)}: {_what(allow)}"))
    for operate in policy.text.operate:
        print(shown_text(f"of all users' jobs, {_who(operate)} may: {', '.join(dict.fromkeys(('see', *operate.may)))}"))
    for name, bound in msgspec.structs.asdict(policy.text.limits).items():
        if bound is not None:
            print(f"limit {name}: {bound}")
    if policy.text.pam and not any(os.path.exists(f"{folder}/{policy.text.pam}") for folder in PAM_FOLDERS):
        print(f"this machine has no /etc/pam.d/{policy.text.pam}: PAM takes /etc/pam.d/other for it")
    for problem in unknown:
        print(f"{problem}: that name is nobody here")
    return 0


def _who(row: AllowText | OperateText) -> str:
    if EVERYBODY in row.users:
        return "everybody"
    return ", ".join([*map(str, row.users), *(f"group {name}" for name in row.groups)]) or "nobody"


def _what(allow: AllowText) -> str:
    """What a rule lets its users do, where, and how much of it."""
    bounds = [f"{count_text(allow.jobs, 'job')} at once"] if allow.jobs is not None else []
    bounds += [f"{allow.processes} processes of a job on a node"] if allow.processes is not None else []
    bounds += [f"{allow.memory_mib} MiB of a job on a node"] if allow.memory_mib is not None else []
    nodes = f"nodes {allow.nodes}" if allow.nodes else "all nodes"
    at_most = f"; at most {', '.join(bounds)}" if bounds else ""
    return f"{', '.join(allow.actions) or 'nothing'} on {nodes}{at_most}"
