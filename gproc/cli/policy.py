"""`gproc policy check [FILE]`: says whether master and slaves can use a policy, and what it holds."""

from __future__ import annotations

import os
from typing import Final

from gproc.cli.options import PolicyOptions
from gproc.cli.trace import Trace
from gproc.errors import UsageError
from gproc.policy.file import SITE_POLICY, policy_path, read_policy
from gproc.shown import shown_text

PAM_FOLDERS: Final = ("/etc/pam.d", "/usr/lib/pam.d")
"""pam.d(5)."""


def run(options: PolicyOptions) -> int:
    """Raises: GprocError with what is wrong."""
    if options.what != "check":
        raise UsageError(f"there is no gproc policy {options.what!r}: 'gproc policy check' is wanted")
    path = options.file[0] if options.file else policy_path(os.environ) or SITE_POLICY
    trace = Trace(options.debug)
    trace.step(f"reads {path}")
    policy, unknown = read_policy(path)
    for rule in policy.text.allow:
        trace.detail(shown_text(f"a rule: {rule}"))
    for operate in policy.text.operate:
        trace.detail(shown_text(f"operators: {operate}"))
    print(shown_text(f"{path}: {len(policy.rules)} rules, root {'too' if policy.text.root else 'may run nothing'}"))
    for operate in policy.text.operate:
        who = ", ".join(map(str, (*operate.users, *operate.groups)))
        print(shown_text(f"of all users' jobs, {who} may: {', '.join(dict.fromkeys(('see', *operate.may)))}"))
    if policy.text.pam and not any(os.path.exists(f"{folder}/{policy.text.pam}") for folder in PAM_FOLDERS):
        print(f"this machine has no /etc/pam.d/{policy.text.pam}: PAM takes /etc/pam.d/other for it")
    for problem in unknown:
        print(f"{problem}: that name is nobody here")
    return 0
