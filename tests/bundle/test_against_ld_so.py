"""The closure is compared with what `ld.so --list` finds, for all programs of this machine."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from gproc.bundle.image import Image
from gproc.bundle.linking import elf
from gproc.bundle.linking.closure import LibraryMissing, Linker
from gproc.bundle.surroundings import Surroundings
from gproc.errors import BundleError

LOADER = "/lib64/ld-linux-x86-64.so.2"
SAMPLE = ("bash", "date", "find", "git", "gpg", "openssl", "perl", "python3", "ssh", "strace", "systemctl", "tar")


@pytest.fixture(autouse=True)
def loader() -> None:
    if not os.path.exists(LOADER):
        pytest.skip(f"needs glibc's dynamic linker for x86-64 at {LOADER} to compare with")


def elf_files(top: str) -> Iterator[str]:
    for directory, _, names in os.walk(top):
        if directory.startswith("/usr/lib/debug"):
            continue
        for name in sorted(names):
            path = os.path.join(directory, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            try:
                parsed = elf.read(path)
            except BundleError:
                continue
            if parsed is None or parsed.abi != elf.Abi(64, True, 62):
                continue
            if parsed.interpreter == LOADER or (parsed.needed and not parsed.interpreter):
                yield path


def is_elf(path: str) -> bool:
    return os.path.isfile(path) and elf.abi_of(path) is not None


def listed_by_ld_so(path: str) -> set[str] | None:
    """The real paths of all files that are loaded for a file; None if the linker fails."""
    done = subprocess.run([LOADER, "--list", path], capture_output=True, text=True, env={"LC_ALL": "C"}, timeout=60)
    if done.returncode:
        return None
    found = re.findall(r"(?:=> |^\t)(/\S+) \(0x", done.stdout, re.MULTILINE)
    return {os.path.realpath(each) for each in found} - {os.path.realpath(path)}


def found_by_gproc(path: str, image: Image, linkers: dict[str, Linker]) -> set[str] | None:
    parsed = elf.read(path)
    assert parsed is not None
    if "" not in linkers:
        linkers[""] = Linker(image, Surroundings({}, "/"), LOADER, parsed.abi)
    try:
        objects = linkers[""].closure(linkers[""].program(path, path, parsed))
    except LibraryMissing:
        return None
    except BundleError as error:
        return {str(error)}
    return {each.real for each in objects} - {path}


def differences(paths: Iterator[str]) -> list[str]:
    image = Image()
    linkers: dict[str, Linker] = {}
    wrong = []
    for path in paths:
        real, ours = listed_by_ld_so(path), found_by_gproc(path, image, linkers)
        # The linker lists itself only if an object needs it by name, but every program has it.
        loader = {os.path.realpath(LOADER)}
        if (None if real is None else real | loader) != (None if ours is None else ours | loader):
            wrong.append(f"{path}: ld.so {real}, gproc {ours}")
    return wrong


def test_a_sample_of_programs_has_the_closure_that_ld_so_lists() -> None:
    paths = [path for name in SAMPLE if (path := os.path.realpath(f"/usr/bin/{name}")) and is_elf(path)]
    assert len(paths) > 3
    assert differences(iter(paths)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "top", ["/usr/bin", "/usr/sbin", pytest.param("/usr/lib", marks=pytest.mark.stress), "/usr/libexec", "/usr/local"]
)
def test_every_program_and_library_has_the_closure_that_ld_so_lists(top: str) -> None:
    assert differences(elf_files(top)) == []
