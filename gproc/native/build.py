"""Compile the static helper: `python gproc/native/build.py [--to FILE] [--target ARCH] [--sanitize] [--strict]`.

Run by hatch when gproc is installed (hatch_build.py) and by `make`; it imports nothing but Python's own modules.  The
compiler is $CC, words as make takes them, and no other if that is set; else the first of cc, gcc, clang and the package
ziglang that compiles this.  No libc is needed, only the kernel's headers.  Two builds by the same compiler give the
same bytes.  A warning is an error in our own tests (--strict), not for users: their compilers may know warnings that
ours do not.

If nothing is built, the reason is kept beside where the helper would be, in a file NAME.why.

Exit status: 0, 1 if there is no compiler, 2 if there is one, or $CC is set, and it does not compile this.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import platform
import shlex
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
"""The machines that sys.c knows."""

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
addresses, which would have to be relocated."""

ZIG = (*(flag for flag in FREESTANDING if flag != "-static-pie"), "-static", "-pie", "-fno-sanitize=undefined")
"""zig does not know -static-pie; its UBSan, on unless it is turned off, needs a runtime."""

SANITIZED = (
    "-g", "-O1", "-DHOSTED", "-ffreestanding", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
)  # fmt: skip


REASON_MAX: Final = 500
"""Characters of a reason that are kept: a compiler's line with a long path."""


class NotBuilt(Exception):
    """Why there is no helper, for a person."""

    @property
    def reason(self) -> str:
        """The same as one clause."""
        return str(self)


class NotCompiled(NotBuilt):
    """There is a compiler, or $CC names one, and it does not compile this.

    said: the compiler's words, which may be many lines.  command: what was executed.
    """

    def __init__(self, clause: str, said: str = "", command: str = "") -> None:
        super().__init__("\n".join(part for part in (clause, command, said) if part))
        self._clause = clause
        self._said = said

    @property
    def reason(self) -> str:
        lines = [line.strip() for line in self._said.splitlines() if line.strip()]
        told = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")
        return f"{self._clause}: {told}" if told else self._clause


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
    """Raises: NotBuilt; then what lay at `to` is as it was, and the reason lies beside it, at `why_at(to)`."""
    try:
        _build(to, target or platform.machine(), sanitize=sanitize, strict=strict)
    except NotBuilt as error:
        with contextlib.suppress(OSError):  # what cannot be written is said all the same
            why_at(to).write_text(f"{error.reason[:REASON_MAX]}\n", encoding="utf-8", errors="backslashreplace")
        raise
    why_at(to).unlink(missing_ok=True)


def why_at(to: Path) -> Path:
    """The file that says why there is no helper at `to`."""
    return to.with_name(f"{to.name}.why")


def _build(to: Path, target: str, *, sanitize: bool, strict: bool) -> None:
    if sys.platform != "linux" or target not in MACHINES:
        raise NotBuilt(f"it knows Linux on {' and '.join(MACHINES)} only, not {sys.platform} on {target}")
    failure: NotBuilt | None = None
    for compiler in compilers(target):
        try:
            compile_by(compiler, to, sanitize=sanitize, strict=strict)
            return
        except NotCompiled as error:
            failure = failure or error  # of the compiler that people expect
    if failure is None:
        failure = NotBuilt("there is no C compiler (cc, gcc, clang), nor the package ziglang: pip install '.[build]'")
    raise failure


def compilers(target: str) -> Iterator[list[str]]:
    """Commands that compile for `target`, to be tried in this order.  Raises: NotCompiled if $CC is no words."""
    own = target == platform.machine()
    if own:
        if chosen := _chosen(os.environ.get("CC", "")):
            yield chosen
            return
        # Not the file that a link leads to: cc and gcc may be links to ccache, which goes by the name that calls it.
        yield from ([path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name)))
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


def _chosen(cc: str) -> list[str]:
    """$CC as words: a compiler and its options, or what goes before it, as in `ccache gcc -m64`."""
    try:
        words = shlex.split(cc)
    except ValueError as error:
        raise NotCompiled(f"$CC is {cc!r}, which is no command: {error}") from error
    if words and "/" in words[0]:
        words[0] = os.path.abspath(words[0])  # it is run from elsewhere
    return words


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
                raise NotCompiled(f"{_named(compiler)} makes a program that a dynamic linker would have to relocate")
        os.chmod(made, 0o755)
        os.replace(made, to)
    finally:
        made.unlink(missing_ok=True)


def _run(compiler: list[str], flags: Sequence[str], made: Path) -> None:
    # Names alone, from this directory: nothing of where it was built is in the result.
    sources = sorted(path.name for path in HERE.glob("*.c"))
    command = [*compiler, *flags, "-o", str(made.resolve()), *sources]
    done = _done(command, HERE)
    if done.returncode != 0:
        raise NotCompiled(f"{_named(compiler)} does not compile it", done.stderr.strip(), shlex.join(command))
    if not made.is_file() or made.read_bytes()[:4] != b"\x7fELF":
        raise NotCompiled(f"{_named(compiler)} succeeds, and makes no program")


def _done(command: Sequence[str], where: str | Path) -> subprocess.CompletedProcess[str]:
    """Raises: NotCompiled if the command cannot be executed."""
    try:
        return subprocess.run(
            command, cwd=where, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="backslashreplace",
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except OSError as error:
        raise NotCompiled(f"{_named(command[:1])} cannot be executed: {error.strerror}") from error


def _named(compiler: Sequence[str]) -> str:
    """A compiler for a person, who may not know that $CC is set."""
    of_environment = _chosen(os.environ.get("CC", ""))[: len(compiler)] == list(compiler)
    return f"{shlex.join(compiler)} (of $CC)" if of_environment else shlex.join(compiler)


def needs_relocation(file: Path) -> bool:
    """Whether an ELF file (64 bits, little-endian) has addresses in it that must be relocated: elf(5)."""
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
    """The flags that this compiler takes; the guard only whole, and not by zig, which wants a libc for it."""
    taken = [flag for flag in flags if _takes(compiler, flag)]
    if "ziglang" in compiler or (platform.machine() == "x86_64" and "-mstack-protector-guard=global" not in taken):
        # x86 has its guard in the thread's own block, which only a libc makes.
        return [flag for flag in taken if not flag.startswith("-fstack-protector")] + ["-fno-stack-protector"]
    return taken


def _takes(compiler: list[str], flag: str) -> bool:
    command = [*compiler, "-Werror", flag, "-x", "c", "-c", "-o", os.devnull, os.devnull]
    with tempfile.TemporaryDirectory() as elsewhere:  # zig leaves a file beside it
        return _done(command, elsewhere).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
