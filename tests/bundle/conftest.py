"""Programs to pack: built by gcc if a rule is compared with the real linker, else written by hand."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from gproc.bundle.linking.glibc import is_companion, is_part
from gproc.content.manifest import Directory, File, Symlink
from gproc.packager import Bundle, PackRequest, pack, read_chunk

LOADER = "/lib64/ld-linux-x86-64.so.2"

Compile = Callable[..., Path]
Pack = Callable[..., Bundle]
Packs = Callable[..., Bundle]


def made(place: Path, files: Mapping[str, str]) -> None:
    """Write files below a directory, by their relative paths."""
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


def sent(bundle: Bundle, place: Path) -> set[str]:
    """What lies below a directory."""
    paths = [os.fsdecode(file.path) for file in bundle.manifest.files()]
    return {os.path.relpath(path, place) for path in paths if path.startswith(f"{place}/")}


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the cache accept files that were made just before they are packed, as these tests do."""
    monkeypatch.setattr("gproc.bundle.cache.RACY_NS", -(10**18))


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    """compiled("bin/prog", "source", flags...): a program or library below tmp_path, built by gcc (or `by`)."""

    def build(name: str, source: str, *flags: str, by: str = "gcc") -> Path:
        if shutil.which(by) is None:
            pytest.skip(f"needs {by} to build a program for this rule")
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = ["-shared", "-fPIC"] if ".so" in path.name else []
        command = [by, "-o", str(path), *kind, "-x", "c", "-", "-x", "none", *flags]
        done = subprocess.run(command, input=source, text=True, capture_output=True, cwd=tmp_path)
        if done.returncode:
            pytest.skip(f"{by} cannot build this here: {done.stderr.strip()[-200:]}")
        return path

    return build


@pytest.fixture
def packed(tmp_path: Path) -> Pack:
    """packed("prog", environ={...}, ...): a bundle, with a cache and a working directory of its own."""

    def make(program: str | Path, environ: Mapping[str, str] | None = None, **more: object) -> Bundle:
        given = {"cwd": str(tmp_path), "cache_dir": str(tmp_path / "cache"), **more}
        environ = {"PATH": "/usr/bin:/bin"} if environ is None else environ
        return pack(PackRequest(program=str(program), environ=environ, **given), explain=True)  # type: ignore[arg-type]

    return make


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A caller's home."""
    path = tmp_path / "home" / "u"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def packs(home: Path, tmp_path: Path) -> Packs:
    """packs(cwd, "sh", "x.sh"): the bundle of a command."""

    def make(cwd: Path, *command: str, **more: object) -> Bundle:
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
        given = {"cache_dir": str(tmp_path / "cache" / "b"), "around": True, **more}
        return pack(PackRequest(command[0], str(cwd), environ, command=command, **given))  # type: ignore[arg-type]

    return make


def _listed_by_ld_so(program: Path, environ: Mapping[str, str], cwd: Path) -> set[str]:
    done = subprocess.run(
        [LOADER, "--list", str(program)], capture_output=True, text=True, env=dict(environ), cwd=cwd, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"(?:=> |^\t)(?!linux-vdso)(\S+) \(0x", done.stdout, re.MULTILINE)
    return {os.path.realpath(os.path.join(cwd, each)) for each in found}


@pytest.fixture
def as_linked(tmp_path: Path, packed: Pack) -> Callable[..., set[str]]:
    """Pack a program, compare its libraries with `ld.so --list`, and return their paths below tmp_path."""
    if not os.path.exists(LOADER):
        pytest.skip(f"needs glibc's dynamic linker for x86-64 at {LOADER} to compare with")

    def check(program: Path, environ: Mapping[str, str] | None = None, **more: object) -> set[str]:
        environ = environ or {}
        bundle = packed(program, environ, **more)
        files = {os.fsdecode(file.path) for file in bundle.manifest.files()}
        # The real path: normally the kernel resolves links for ld.so, but here ld.so is started directly.
        real = program.resolve()
        expected = _listed_by_ld_so(real, environ, tmp_path) | {os.path.realpath(LOADER), str(real)}
        # Parts of glibc that nothing needs go along with the others, and what it loads by name.
        spare = {path for path in files - expected if is_part(path) or is_companion(path)}
        assert files - spare == expected
        return {os.path.relpath(path, tmp_path) for path in files if path.startswith(f"{tmp_path}/")}

    return check


@pytest.fixture
def laid_out(tmp_path: Path) -> Callable[[Bundle], Path]:
    """The bundle laid out as a tree, with all bytes from `read_chunk`."""

    def lay(bundle: Bundle, name: str = "node") -> Path:
        root = tmp_path / name
        root.mkdir()
        for entry in bundle.manifest.entries:
            path = root / os.fsdecode(entry.path).lstrip("/")
            match entry:
                case Directory():
                    path.mkdir()
                case Symlink():
                    path.symlink_to(os.fsdecode(entry.target))
                case File():
                    path.write_bytes(b"".join(read_chunk(bundle, digest) for digest, _, _ in entry.chunks()))
                    path.chmod(entry.mode)
                    os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))
        return root

    return lay


@pytest.fixture
def run_on_empty_node(laid_out: Callable[[Bundle], Path]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a bundle in a root that holds only the bundle."""
    if os.geteuid() != 0 or shutil.which("chroot") is None:
        pytest.skip("needs root and chroot(8) for an empty node")

    def run(
        bundle: Bundle, *arguments: str, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        root = laid_out(bundle)
        (root / "dev").mkdir(exist_ok=True)
        (root / "dev" / "null").touch()
        command = ["chroot", str(root), os.fsdecode(bundle.manifest.program), *arguments]
        environ = {"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", **(environ or {})}
        return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)

    return run


@pytest.fixture
def make_elf() -> Callable[..., bytes]:
    """An ELF file for any class, byte order and machine: complete enough for a linker, but without code."""

    def make(
        needed: Sequence[str] = (),
        *,
        bits: int = 64,
        little: bool = True,
        machine: int = 62,
        interpreter: str = "",
        soname: str = "",
        rpath: str | None = None,
        runpath: str | None = None,
    ) -> bytes:
        order = "<" if little else ">"
        strings = b"\0"
        dynamic: list[tuple[int, int]] = []
        for tag, text in [(1, each) for each in needed] + [(14, soname or None), (15, rpath), (29, runpath)]:
            if text is not None:
                dynamic.append((tag, len(strings)))
                strings += os.fsencode(text) + b"\0"
        header, segment, pair = (64, 56, "qQ") if bits == 64 else (52, 32, "iI")
        interp = os.fsencode(interpreter) + b"\0" if interpreter else b""
        count = 3 if interp else 2
        at_interp = header + count * segment
        at_strings = at_interp + len(interp)
        at_dynamic = -(-(at_strings + len(strings)) // 8) * 8
        dynamic += [(5, at_strings), (10, len(strings)), (0, 0)]
        table = b"".join(struct.pack(order + pair, *entry) for entry in dynamic)
        size = at_dynamic + len(table)

        def program_header(kind: int, offset: int, length: int) -> bytes:
            if bits == 64:
                return struct.pack(order + "IIQQQQQQ", kind, 5, offset, offset, offset, length, length, 8)
            return struct.pack(order + "IIIIIIII", kind, offset, offset, offset, length, length, 5, 8)

        word = "Q" if bits == 64 else "I"
        ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1 if little else 2, 1]) + bytes(9)
        start = ident + struct.pack(
            order + "HHI" + word * 3 + "IHHHHHH", 3, machine, 1, 0, header, 0, 0, header, segment, count, 0, 0, 0
        )
        headers = program_header(1, 0, size) + program_header(2, at_dynamic, len(table))
        if interp:
            headers += program_header(3, at_interp, len(interp))
        body = start + headers + interp + strings
        return body + bytes(at_dynamic - len(body)) + table

    return make
