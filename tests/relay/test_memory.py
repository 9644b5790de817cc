"""What was used for a while is given back when jobs have ended.  Each case has a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gproc.root import kernel
from tests.patience import PATIENCE_S

PIECE_BYTES = 60_000
PIECES = 1000
"""57 MiB."""

HOLDING = f"""
import asyncio
from gproc.relay.memory import MORE_BYTES, Memory, _size

async def main():
    memory = Memory()
    before = _size().private
    for looks in LOOKS:
        pieces = [b"x" * {PIECE_BYTES} for _ in range({PIECES})]
        kept = pieces[::50]  # as values that outlive a job: the C library has holes, and nothing at its top
        for _ in range(looks):
            await end_of_a_job(memory)
            assert _size().private > before + {PIECE_BYTES * PIECES // 2}
        del pieces
        assert _size().private > before + {PIECE_BYTES * PIECES // 2}, "the C library gives it back by itself"
        await end_of_a_job(memory)
        left = _size().private - before - len(kept) * {PIECE_BYTES}
        assert left < MORE_BYTES, left
        before = _size().private

async def end_of_a_job(memory):
    memory.ended(5000)
    while memory._timer is not None:
        await asyncio.sleep(0.01)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(not kernel.freed_bytes(), reason="another C library than glibc")
@pytest.mark.parametrize("looks", ["(0,)", "(1, 2)"], ids=["when_it_is_free", "when_it_was_in_use_before"])
def test_what_faults_and_output_took_of_a_master_is_given_back(looks: str) -> None:
    """Of 100 MiB that a master had after 15 faults on its tree, it used 51."""
    script = HOLDING.replace("LOOKS", looks)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
