"""What `make fidelity` found, from its log: how many cases do the same on each node, by kind, for docs/fidelity.md.

With --failing: what differs, as `failing.toml` has it; the reasons that the file has are kept.
"""

from __future__ import annotations

import json
import sys
from collections import Counter

from tests.fidelity.programs.cases import failing
from tests.fidelity.programs.nodes import NODES


def table(lines: list[str]) -> str:
    outcomes: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        kind, node, outcome, _name = line.rstrip("\n").split("\t")
        for counted in (kind, "all"):
            outcomes[counted, node, outcome] += 1
    kinds = [*sorted({kind for kind, _, _ in outcomes} - {"all"}), "all"]
    rows = ["| kind | cases | " + " | ".join(NODES) + " |", "|---|---|" + "---|" * len(NODES)]
    for kind in kinds:
        cells = []
        cases = 0
        for node in NODES:
            same, refused, different = (outcomes[kind, node, word] for word in ("same", "refused", "different"))
            cases = max(cases, same + refused + different)
            cells.append(f"{same}" + (f" + {refused} refused" if refused else ""))
        rows.append(f"| {kind} | {cases} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def listed(lines: list[str]) -> str:
    known = failing()
    text = "# Node -> case -> why it fails there.  A case that works must be taken off: its test fails otherwise.\n"
    for node in NODES:
        text += f"\n[{node}]\n"
        for line in sorted(lines):
            _kind, at, outcome, name = line.rstrip("\n").split("\t")
            if at == node and outcome == "different":
                reason = known.get(node, {}).get(name, "not yet")
                text += f"{json.dumps(name)} = {json.dumps(reason)}\n"
    return text


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        found = file.readlines()
    sys.stdout.write(listed(found) if "--failing" in sys.argv else table(found) + "\n")
