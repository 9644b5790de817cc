"""Fuzz the decoders in Python: `python -m tests.fuzz [--runs 1000000] [TARGET...]`; atheris, guided by coverage.

Each target runs in a process of its own.  What was found is written as crash-* where the command runs; it belongs into
`tests/fuzz/test_decoders.py` as a case.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

INPUT_BYTES_MAX: Final = 1024
"""Longer ones find nothing more and are slower; a target with longer seeds gets twice their length."""

SEED: Final = 1


def fuzz_one(name: str, runs: int, corpus: Path) -> None:
    """corpus: an empty directory.  Does not return: libFuzzer ends the process."""
    import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]

    with atheris.instrument_imports(include=["gproc"]):
        from tests.fuzz.targets import TARGETS, run
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    longest = max(INPUT_BYTES_MAX, 2 * max(map(len, target.seeds)))
    options = [f"-runs={runs}", f"-seed={SEED}", f"-max_len={longest}", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: run(target, data))
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*")
    options = parser.parse_args()
    if options.corpus is not None:
        fuzz_one(options.targets[0], options.runs, options.corpus)
    from tests.fuzz.targets import TARGETS

    failed = []
    for name in options.targets or TARGETS:
        sys.stdout.write(f"--- {name}\n")
        sys.stdout.flush()
        with tempfile.TemporaryDirectory(prefix="gproc-fuzz-") as corpus:
            command = [sys.executable, "-m", "tests.fuzz", f"--corpus={corpus}", f"--runs={options.runs}", name]
            if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
                failed.append(name)
    sys.stdout.write(f"{len(failed)} failed: {', '.join(failed)}\n" if failed else "nothing found\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
