"""Fuzz the static helper's parser: `python -m tests.native.fuzz [--runs 1000000]`; libFuzzer, ASan and UBSan.

The first inputs are plans as `launch.operations` writes them.  The corpus goes away with its directory: what was found
stands in the tests.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gproc.launch import operations
from gproc.launch.cgroup import Group
from gproc.launch.protocol import Start
from gproc.request.limits import Limits
from gproc.request.spec import Caller, Request, TerminalSize
from gproc.root.view import CopyTree, MakeDirectory, Overlay, Proc, ShowAt, Tmpfs, View

SOURCES: Final = Path(operations.__file__).parents[1] / "native"
INPUT_BYTES_MAX: Final = 4096
SEED: Final = 1


def build(to: Path) -> None:
    """Raises: subprocess.CalledProcessError."""
    read = [str(SOURCES / name) for name in ("plan.c", "failure.c", "sys.c")]
    words = ["clang", "-g", "-O1", "-DHOSTED", "-ffreestanding", "-fsanitize=fuzzer,address,undefined", f"-I{SOURCES}"]
    own = str(Path(__file__).with_name("fuzz_plan.c"))
    subprocess.run([*words, "-fno-sanitize-recover=all", "-o", str(to), own, *read], check=True)


def plans() -> Iterator[bytes]:
    mounts = (
        Tmpfs(b"/x"), MakeDirectory(b"/x", b"/a/b"), CopyTree(b"/s", b"/x"), ShowAt(b"/x", b"/y"), Proc(b"/proc"),
        Overlay((b"/l", b"/usr/lib"), b"", b"", b"/usr/lib", (b"a", b"b/c")), Overlay((b"/l",), b"/u", b"/w", b"/x"),
    )  # fmt: skip
    limits = Limits(max_procs=3, mem_bytes=1 << 30, cpus=2, nice=1, soft=((7, 1024), (3, -1)))
    env = (b"PATH=/usr/bin:/bin", b"HOME=/root")
    request = Request(nodes=".", argv=(b"x", b"y"), env=env, limits=limits, terminal=TerminalSize(1, 2))
    views = {0: View("namespaces", mounts, b"x", b"/x"), 7: View("plain", (), b"/x", b"/r/1/w", root=b"/r/1")}
    for uid, view in views.items():
        caller = Caller(7, 8, (1, 2, 3))
        start = Start(1, request, caller, (), view)
        group = Group(directories=(b"/sys/fs/cgroup/x",))
        yield operations.plan(start, group, slave_uid=uid, oom_score=500, deadline_ns=1 << 40, lease_ns=1 << 41)
    yield operations.plan_trial(mounts, slave_uid=7, gid=8)


def fuzz(runs: int) -> int:
    """The exit status of libFuzzer: 0 if it found nothing."""
    with tempfile.TemporaryDirectory(prefix="gproc-fuzz-") as made:
        fuzzer, corpus = Path(made, "fuzz_plan"), Path(made, "corpus")
        build(fuzzer)
        corpus.mkdir()
        for number, plan in enumerate(plans()):
            (corpus / str(number)).write_bytes(b"\0" + plan[8:])
        options = [f"-runs={runs}", f"-seed={SEED}", f"-max_len={INPUT_BYTES_MAX}", "-print_final_stats=1"]
        return subprocess.run([str(fuzzer), *options, str(corpus)], cwd=made).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    options = parser.parse_args()
    if shutil.which("clang") is None:
        sys.stderr.write("needs clang and its runtime (Debian: clang, libclang-rt-dev)\n")
        return 1
    return fuzz(options.runs)


if __name__ == "__main__":
    sys.exit(main())
