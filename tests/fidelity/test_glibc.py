"""Programs of a newer and an older Debian run on this machine with their own glibc or the node's, always as a set."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fidelity.releases import unpacked

PACKAGES: Final = ("libc6", "coreutils", "libselinux1", "libacl1", "libattr1", "libpcre2-8-0", "libgmp10", "libcap2")
"""The packages of ls(1), sort(1) and their libraries, in both releases."""

RELEASES: Final = {"bullseye": (2, 31), "trixie": (2, 41)}


@pytest.fixture(scope="session")
def own_glibc() -> tuple[int, int]:
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (ValueError, OSError):
        pytest.skip("needs glibc")
    assert name == "glibc"
    major, minor = version.split(".")
    return int(major), int(minor)


@pytest.fixture(scope="session")
def debian() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gproc-debian-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="session", params=list(RELEASES))
def release(request: pytest.FixtureRequest, debian: Path) -> Path:
    """The root of a release, unpacked from its packages."""
    return unpacked(request.param, debian / request.param, PACKAGES)


def version_of(libc: str) -> str:
    """A command that prints the version of the glibc at this path, by its banner."""
    return f"grep -ao 'GNU C Library .* version [0-9.]*[0-9]' {libc} | grep -o '[0-9.]*$'"


def test_a_foreign_program_runs_and_so_do_the_nodes_own_tools_as_its_children(site: Any, release: Path) -> None:
    """env(1) of the release starts the node's shell, which starts the node's tools and the release's."""
    script = """
        readlink /proc/self/exe
        git --version >/dev/null && echo git
        perl -e 'print "perl\n"'
        python3 -c 'import ssl, sqlite3, socket; socket.getaddrinfo("localhost", 1); print("python")'
        printf 'b\na\n' | sort
        touch /usr/local/gproc-test-$$ && rm /usr/local/gproc-test-$$ && echo writable
    """
    for tool in ("git", "perl", "python3"):
        if shutil.which(tool, path="/usr/bin:/bin") is None:
            pytest.skip(f"needs {tool} in /usr/bin")
    done = site.run("-r", str(release), "1", "/usr/bin/env", "/bin/sh", "-c", script)
    wanted = ["/usr/bin/readlink", "git", "perl", "python", "a", "b"] + (["writable"] if site.uid == 0 else [])
    assert done.stdout.decode().splitlines() == wanted, done.stderr.decode()


def test_a_program_gets_the_newer_glibc_of_the_two(site: Any, release: Path, own_glibc: tuple[int, int]) -> None:
    if site.plain:
        pytest.skip("a plain node runs a program with the bundle's glibc")
    libc = "/usr/lib/x86_64-linux-gnu/libc.so.6"
    seen = site.run("-r", str(release), "1", "/usr/bin/env", "/bin/sh", "-c", version_of(libc))
    newer = max(RELEASES[release.parent.name], own_glibc)
    assert seen.stdout.decode().strip() == ".".join(map(str, newer)), seen.stderr.decode()


@pytest.mark.parametrize("program", ["sort", *(pytest.param(each, marks=pytest.mark.stress) for each in ("ls", "cat"))])
def test_a_program_of_another_release_runs_with_its_libraries(site: Any, release: Path, program: str) -> None:
    done = site.run("-r", str(release), "1", program, "--version")
    coreutils = {"bullseye": "8.32", "trixie": "9.7"}[release.parent.name]
    assert done.stdout.decode().splitlines()[0].endswith(f"(GNU coreutils) {coreutils}"), done.stderr.decode()


def test_proc_names_the_program_itself(site: Any, release: Path) -> None:
    if site.plain:
        pytest.skip("on a plain node /proc/self/exe names the loader: docs/fidelity.md")
    done = site.run("-r", str(release), "1", "readlink", "/proc/self/exe")
    assert done.stdout.decode() in ("/usr/bin/readlink\n", "/bin/readlink\n"), done.stderr.decode()
    status = site.run("-r", str(release), "1", "/usr/bin/head", "-n1", "/proc/self/status")
    assert status.stdout == b"Name:\thead\n"
