"""Whether one of two revisions is better, from values that were measured in turns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Final, Literal

import msgspec

from bench.figures import Samples, number

CONFIDENCE: Final = 0.99
"""The least confidence of a spread.  A comparison has up to 40 figures: at 0.95, most comparisons of a commit with
itself would call one of them worse; at 0.99, at most every fifth does."""

FEWEST_TURNS: Final = 8
"""With fewer turns no spread has that confidence: all of n ratios are on one side by chance with 2 ** (1 - n)."""

TRIFLE: Final = 0.01
"""A smaller part does not count as a difference, even if it is certain: two trees of one commit differ by some 0.003 in
peak memory, in all of their runs (2026-11-27, 16 nodes)."""

Word = Literal["better", "same", "worse", "too few turns"]


class Spread(msgspec.Struct, frozen=True):
    """A ratio, the bounds of its interval, and the confidence of these, from 0 to 1."""

    ratio: float
    low: float
    high: float
    confidence: float


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A figure on both sides.  ref, this: the values by turn; spread: of this / ref.  Less is better."""

    what: str
    unit: str
    ref: Samples
    this: Samples
    spread: Spread
    word: Word

    def cells(self) -> tuple[str, ...]:
        """A row of the table under `HEAD`."""
        spread = f"{self.spread.low:.3f}-{self.spread.high:.3f}"
        values = (f"{number(side.median)} {self.unit}" for side in (self.ref, self.this))
        return (self.what, *values, f"{self.spread.ratio:.3f}", spread, self.word)


HEAD: Final = ("figure", "REF", "this", "ratio", "spread", "")


def compared(what: str, unit: str, ref: Sequence[float], this: Sequence[float]) -> Ratio:
    """The values of both sides by turn, all above 0.  Raises: ValueError."""
    if len(ref) != len(this) or not ref:
        raise ValueError(f"{what}: {len(ref)} values beside {len(this)}")
    if min(*ref, *this) <= 0:
        raise ValueError(f"{what}: there is no ratio to a value of 0 {unit}")
    spread = spread_of([mine / theirs for theirs, mine in zip(ref, this, strict=True)])
    return Ratio(
        what=what, unit=unit, ref=Samples(tuple(ref)), this=Samples(tuple(this)),
        spread=spread, word=judged(spread),
    )  # fmt: skip


def judged(spread: Spread) -> Word:
    """A difference counts if 1 is outside the spread and the ratio differs from 1 by more than a TRIFLE."""
    if spread.confidence < CONFIDENCE:
        return "too few turns"
    if spread.low > 1 and spread.ratio > 1 + TRIFLE:
        return "worse"
    return "better" if spread.high < 1 and spread.ratio < 1 - TRIFLE else "same"


def spread_of(ratios: Sequence[float]) -> Spread:
    """The narrowest interval of the paired ratios that has CONFIDENCE; for too few, from the least to the greatest.

    Each ratio is of two values of the same turn, some seconds apart, so a machine that becomes slower during the
    measurement slows both.  The interval is that of Wilcoxon's signed-rank test: the means of every two logarithms
    (Walsh averages), without the outermost ones at both ends.  The ratio is their median (Hodges and Lehmann).

    Reasons: if the commits do not differ, the two values of a pair could be exchanged, so the logarithms are symmetric
    about 0.  The test assumes nothing else, neither a normal distribution nor many turns, and one outlier moves it
    little.  A bootstrap of 10 or 20 turns is too narrow, and differs each time.  The quotient of the two medians is not
    used: other work on the machine moved it by a tenth, and this estimate by a hundredth.

    Source: Hollander and Wolfe, Nonparametric Statistical Methods, chapter 3.
    """
    logs = [math.log(ratio) for ratio in ratios]
    cut, confidence = _cut(len(logs))
    means = sorted((logs[i] + logs[j]) / 2 for i in range(len(logs)) for j in range(i + 1))
    return Spread(math.exp(median(means)), math.exp(means[cut]), math.exp(means[-1 - cut]), confidence)


def _cut(count: int) -> tuple[int, float]:
    """The number of means to leave out at each end, and the confidence of the remaining interval."""
    # ways[s]: how many of the 2 ** count sets of signs give the positive ranks the sum s.
    ways = [1] + [0] * (count * (count + 1) // 2)
    for rank in range(1, count + 1):
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    outside = [2 * sum(ways[: cut + 1]) / 2**count for cut in range(len(ways) // 2)]
    allowed = [cut for cut, share in enumerate(outside) if 1 - share >= CONFIDENCE]
    cut = max(allowed, default=0)
    return cut, max(0.0, 1 - outside[cut])
