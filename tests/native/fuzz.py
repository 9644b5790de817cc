"""Fuzz what the static helper reads: `python -m tests.native.fuzz [--runs 1000000]`; libFuzzer, ASan and UBSan.

Two fuzzers, side by side, of the plan of a job and of what the bootstrap and a node that
hands a runtime on read.  The first inputs are plans as
`launch.operations` writes them, and small runtimes.  The corpus goes away with its directory: what was found
stands in the tests.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gproc.launch import operations
from gproc.launch.cgroup import Group
from gproc.launch.protocol import Start
from gproc.request.limits import Limits
from gproc.request.spec import Caller, Request, TerminalSize
from gproc.root.view import CopyTree, MakeDirectory, Overlay, Proc, ShowAt, Tmpfs, View
from gproc.runtime.archive import Content, archive_of
from gproc.start.script import order_to_fetch, order_to_take

SOURCES: Final = Path(operations.__file__).parents[1] / "native"
INPUT_BYTES_MAX: Final = 4096
SEED: Final = 1


READ: Final = {
    "fuzz_plan": ("plan.c", "failure.c", "sys.c"),
    # Without sys.c: the fuzzer plays the kernel.
    "fuzz_bootstrap": ("answer.c", "bits.c", "bootstrap.c", "descriptors.c", "failure.c", "fetch.c", "inflate.c",
                       "number.c", "path.c", "prefixcode.c", "retention.c", "serve.c", "sha256.c", "shablocks.c",
                       "shaprocessor.c", "supply.c", "tending.c", "tree.c", "unpack.c", "untar.c"),
}  # fmt: skip
"""Each fuzzer's sources, beside its own file."""


def build(name: str, to: Path) -> None:
    """Raises: subprocess.CalledProcessError."""
    read = [str(SOURCES / source) for source in READ[name]]
    words = ["clang", "-g", "-O1", "-DHOSTED", "-ffreestanding", "-fsanitize=fuzzer,address,undefined", f"-I{SOURCES}"]
    own = str(Path(__file__).with_name(f"{name}.c"))
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


def streams() -> Iterator[bytes]:
    """What fuzz_bootstrap.c takes: a byte for the kind, one for the size of the pieces, and the rest."""
    files = {"ld.so": Content(b"x" * 700, executable=True), "lib/a/b.pyc": Content(bytes(range(256)))}
    archive = archive_of(files)
    words, secret = b"slave-1\0s\0--x\0", b"secret"
    digest = hashlib.sha256(archive).digest()
    header = struct.pack("<4sIQII32s16s", b"gpb1", len(words), len(archive), len(secret), 0, digest, bytes(16))
    fetch = order_to_fetch("10.0.0.1", 7, bytes(16))
    yield b"\x00\xff" + header + words + order_to_take(0) + archive + secret
    yield b"\x00\xff" + header + words + fetch + archive + secret
    yield b"\x00\x01" + header + words + fetch + archive[:99] + order_to_take(0) + archive[99:] + secret
    yield b"\x04\xff" + header + words + archive[:200] + order_to_take(0) + archive[200:] + secret
    yield b"\x03\x01" + b"gpr1" + bytes(4) + b"Z" * 48 + b"gpr1" + bytes(4) + b"Y" * 48
    for level, strategy in ((0, 0), (1, 0), (9, 0), (9, zlib.Z_FIXED), (9, zlib.Z_HUFFMAN_ONLY)):
        packer = zlib.compressobj(level, zlib.DEFLATED, 31, 9, strategy)
        yield b"\x01\x01" + packer.compress(gzip.decompress(archive)[:3000]) + packer.flush()
    yield b"\x02\xff" + gzip.decompress(archive)[:4000]


def fuzz(runs: int) -> int:
    """The exit status of libFuzzer: 0 if both found nothing.  Each has half of the runs."""
    with tempfile.TemporaryDirectory(prefix="gproc-fuzz-") as made:
        seeds = {"fuzz_plan": [b"\0" + plan[8:] for plan in plans()], "fuzz_bootstrap": list(streams())}
        for name, inputs in seeds.items():
            build(name, Path(made, name))
            Path(made, f"{name}.corpus").mkdir()
            for number, each in enumerate(inputs):
                Path(made, f"{name}.corpus", str(number)).write_bytes(each)
        options = [f"-runs={runs // 2}", f"-seed={SEED}", f"-max_len={INPUT_BYTES_MAX}", "-print_final_stats=1"]
        running = [
            subprocess.Popen([f"./{name}", *options, f"{name}.corpus"], cwd=made, stdin=subprocess.DEVNULL)
            for name in seeds
        ]
        return max(abs(each.wait()) for each in running)


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
