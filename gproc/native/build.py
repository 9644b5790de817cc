"""Compile the static helper: `python gproc/native/build.py [--to FILE] [--target ARCH] [--sanitize] [--strict]`.

Run by hatch when gproc is installed (hatch_build.py) and by `make`; it imports nothing but Python's own modules.  The
compiler is $CC, cc, gcc, clang, or the one of the package ziglang; no libc is needed, only the kernel's headers.  Two
builds by the same compiler give the same bytes.  A warning is an error in our own tests (--strict), not for users:
their compilers may know warnings that ours do not.

Exit status: 0, 1 if there is no compiler, 2 if there is one and it does not compile this.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

HERE = Path(__file__).resolve().parent
HELPER = HERE / "gproc-helper"

MACHINES = ("x86_64", "aarch64")
"""Those that sys.c knows."""

WARNINGS = (
    "-std=c11", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes",
    "-Wmissing-prototypes", "-Wvla", "-Wpointer-arith", "-Wcast-align", "-Wundef", "-Wformat=2",
)  # fmt: skip

# -fno-builtin: memcpy() is ours, and must not be compiled into a call of itself.
FREESTANDING = (
    "-O2", "-ffreestanding", "-fno-builtin", "-fPIE", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables",
    "-nostdlib", "-static-pie", "-Wl,-z,noexecstack", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,--build-id=none", "-s",
)  # fmt: skip

OPTIONAL = (
    "-fstack-protector-strong", "-mstack-protector-guard=global", "-ftrivial-auto-var-init=zero", "-fcf-protection",
    "-mbranch-protection=standard", "-fno-tree-loop-distribute-patterns", "-fno-tree-slp-vectorize",
    "-fstack-clash-protection",
)  # fmt: skip
"""What one compiler or machine has and another has not.  Without -fno-tree-slp-vectorize gcc makes a constant of two
addresses, which somebody would have to relocate."""

ZIG = (*(flag for flag in FREESTANDING if flag != "-static-pie"), "-static", "-pie", "-fno-sanitize=undefined")
"""zig does not know -static-pie; its UBSan, on unless it is turned off, needs a runtime."""

SANITIZED = (
    "-g", "-O1", "-DHOSTED", "-ffreestanding", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
)  # fmt: skip


class NotBuilt(Exception):
    """Why there is no helper: one clause for a person."""


class NotCompiled(NotBuilt):
    """There is a compiler, and it does not compile this."""


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=HELPER)
    parser.add_argument("--target", choices=MACHINES, default=platform.machine(), help="with ziglang")
    parser.add_argument("--sanitize", action="store_true", help="with a libc, AddressSanitizer and UBSan, for tests")
    parser.add_argument("--strict", action="store_true", help="a warning is an error, for tests")
    options = parser.parse_args(words)
    try:
        build(options.to, target=options.target, sanitize=options.sanitize, strict=options.strict)
    except NotBuilt as error:
        sys.stderr.write(f"gproc's static helper is not built: {error}; jobs will be started by Python\n")
        return 2 if isinstance(error, NotCompiled) else 1
    return 0


def build(to: Path = HELPER, *, target: str = "", sanitize: bool = False, strict: bool = False) -> None:
    """Raises: NotBuilt; then what lay at `to` is as it was."""
    target = target or platform.machine()
    if sys.platform != "linux" or target not in MACHINES:
        raise NotBuilt(f"it knows Linux on {' and '.join(MACHINES)} only, not {sys.platform} on {target}")
    failure = NotBuilt("there is no C compiler (cc, gcc, clang), nor the package ziglang: pip install '.[build]'")
    for compiler in compilers(target):
        try:
            compile_by(compiler, to, sanitize=sanitize, strict=strict)
            return
        except NotCompiled as error:
            failure = error
    raise failure


def compilers(target: str) -> Iterator[list[str]]:
    """Commands that compile for `target`, to be tried in this order."""
    own = target == platform.machine()
    if own:
        named = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
        found = dict.fromkeys(os.path.realpath(path) for name in named if (path := shutil.which(name)))
        yield from ([path] for path in found)
    elif path := shutil.which(f"{target}-linux-gnu-gcc"):
        yield [path]
    zig = importlib.util.find_spec("ziglang")
    if zig is not None and zig.submodule_search_locations:
        # With -nostdlib zig does not look for the kernel's headers, which it has for each machine.
        headers = Path(zig.submodule_search_locations[0], "lib/libc/include")
        own_headers = headers / f"{target.removesuffix('_64')}-linux-any"
        yield [
            sys.executable, "-m", "ziglang", "cc", "-target", f"{target}-linux-musl",
            "-isystem", str(own_headers), "-isystem", str(headers / "any-linux-any"),
        ]  # fmt: skip


def compile_by(compiler: list[str], to: Path, *, sanitize: bool = False, strict: bool = False) -> None:
    """Raises: NotCompiled."""
    freestanding = ZIG if "ziglang" in compiler else FREESTANDING
    flags = SANITIZED if sanitize else (*freestanding, *_known(compiler, OPTIONAL))
    made = to.with_name(f".{to.name}.{os.getpid()}")
    errors = ("-Werror",) if strict else ()
    try:
        _run(compiler, (*WARNINGS, *errors, *flags), made)
        if not sanitize and needs_relocation(made):
            # gcc for aarch64 reads the stack's guard by an address that must be relocated.
            _run(compiler, (*WARNINGS, *errors, *flags, "-fno-stack-protector"), made)
            if needs_relocation(made):
                raise NotCompiled(f"{compiler[0]} makes a program that a dynamic linker would have to relocate")
        os.chmod(made, 0o755)
        os.replace(made, to)
    finally:
        made.unlink(missing_ok=True)


def _run(compiler: list[str], flags: Sequence[str], made: Path) -> None:
    # Names alone, from this directory: nothing of where it was built is in the result.
    sources = sorted(path.name for path in HERE.glob("*.c"))
    command = [*compiler, *flags, "-o", str(made.resolve()), *sources]
    done = subprocess.run(
        command, cwd=HERE, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode != 0:
        raise NotCompiled(f"{' '.join(command)}\n{done.stderr.strip()}")


def needs_relocation(file: Path) -> bool:
    """Whether an ELF file (64 bits, little-endian) has addresses in it that somebody must correct: elf(5)."""
    program = file.read_bytes()
    at, size, count = struct.unpack_from("<Q14xHH", program, 32)
    for index in range(count):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", program, at + index * size)
        if kind == _DYNAMIC:
            return any(tag in _RELOCATIONS and value for tag, value in struct.iter_unpack(
                "<QQ", program[offset : offset + length]))  # fmt: skip
    return False


_DYNAMIC: Final = 2
_RELOCATIONS: Final = (8, 18, 35)
"""PT_DYNAMIC; DT_RELASZ, DT_RELSZ and DT_RELRSZ."""


def _known(compiler: list[str], flags: Sequence[str]) -> list[str]:
    """Those of `flags` that this compiler takes; the guard only whole, and not by zig, which wants a libc for it."""
    taken = [flag for flag in flags if _takes(compiler, flag)]
    if "ziglang" in compiler or (platform.machine() == "x86_64" and "-mstack-protector-guard=global" not in taken):
        # x86 has its guard in the thread's own block, which only a libc makes.
        return [flag for flag in taken if not flag.startswith("-fstack-protector")] + ["-fno-stack-protector"]
    return taken


def _takes(compiler: list[str], flag: str) -> bool:
    command = [*compiler, "-Werror", flag, "-x", "c", "-c", "-o", os.devnull, os.devnull]
    with tempfile.TemporaryDirectory() as elsewhere:  # zig leaves a file beside it
        done = subprocess.run(command, cwd=elsewhere, stdin=subprocess.DEVNULL, capture_output=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
