"""Broken forms of genuine inputs, 4,000 for each decoder: a value or the promised error, and never a fault.

`make stress` tries 20,000, and `make fuzz` many more, guided by coverage.  The inputs here are the same each time.
"""

from __future__ import annotations

import random
from typing import Final

import pytest

from tests.fuzz.targets import TARGETS, run

RUNS: Final = (4_000, pytest.param(20_000, marks=pytest.mark.stress))


def broken(seed: bytes, chance: random.Random) -> bytes:
    """A few changes of the kinds that fuzzers make."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(data):
                data[at] = chance.choice((0, 0x7F, 0x80, 0xC1, 0xFF))
            case 2:
                data[at:at] = chance.randbytes(chance.randrange(1, 5))
            case 3:
                del data[at : at + chance.randrange(1, 9)]
            case 4:
                del data[at:]
            case 5:
                data[at:at] = data[: chance.randrange(1, 33)]
    return bytes(data)


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("name", TARGETS)
def test_a_broken_input_is_a_value_or_the_promised_error(name: str, runs: int) -> None:
    target = TARGETS[name]
    chance = random.Random(name)
    for seed in target.seeds:
        run(target, seed)
    for _ in range(runs):
        run(target, broken(chance.choice(target.seeds), chance))
