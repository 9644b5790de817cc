"""The clocks of simulated machines: what each shows, and how that jumps.

CLOCK_BOOTTIME counts from the start of each machine, so no two show the same, and it begins again with the machine.
The date is what an administrator has set: it jumps, forth and back, while programs run.  Both run at the speed of the
loop.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from tests.simulator.clock import running_host

if TYPE_CHECKING:
    from tests.simulator.clock import VirtualLoop

UPTIMES_S: Final = (100.0, 10_000.0, 1_000_000.0)
"""A machine has been up for so long at most."""

DATE_S: Final = 1_800_000_000.0
"""Where dates begin: no jump leads before 1970, which no message can say."""

STEP_S: Final = 1e-9
"""Between two looks at a clock."""

JUMPS_S: Final = (2.0, 20.0, 600.0, 1_000_000.0)
"""How far a date jumps at most, in seconds."""


class HostClocks:
    """differ: whether machines have clocks of their own; otherwise all show the loop's time."""

    def __init__(self, loop: VirtualLoop, seed: int, *, differ: bool) -> None:
        self._loop = loop
        self._random = random.Random(f"clocks {seed}")
        self._differ = differ
        self._ahead_s: dict[str, float] = {}
        self._date_ahead_s: dict[str, float] = {}
        self._shown_s: dict[str, float] = {}

    def ahead_s(self, host: str) -> float:
        """How far CLOCK_BOOTTIME of this machine is ahead of the loop's time."""
        if not self._differ or not host:
            return 0.0
        if host not in self._ahead_s:
            self.start(host, self._random.uniform(1.0, self._random.choice(UPTIMES_S)))
        return self._ahead_s[host]

    def start(self, host: str, up_s: float = 1.0) -> None:
        """This machine has just been started, or so long ago."""
        if self._differ:
            self._ahead_s[host] = up_s - self._loop.now_s
            self._shown_s.pop(host, None)

    def set_date(self, host: str) -> None:
        """Its date jumps."""
        far_s = self._random.choice(JUMPS_S)
        self._date_ahead_s[host] = self._date_ahead_s.get(host, 0.0) + self._random.uniform(-far_s, far_s)

    # As the module `time`, for the process that runs now

    CLOCK_BOOTTIME = 7

    def time(self) -> float:
        begun_s = DATE_S if self._differ else 0.0
        return begun_s + self._loop.now_s + self._date_ahead_s.get(running_host(), 0.0)

    def clock_gettime(self, _: int) -> float:
        """Later each time, or a timer that ends a moment too early by its rounding would be set again and again."""
        host = running_host()
        if not self._differ or not host:
            return self._loop.now_s
        shown_s = max(self._loop.now_s + self.ahead_s(host), self._shown_s.get(host, 0.0) + STEP_S)
        self._shown_s[host] = shown_s
        return shown_s

    def monotonic(self) -> float:
        return self._loop.now_s
