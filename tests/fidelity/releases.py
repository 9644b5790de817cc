"""Roots of Debian's releases, unpacked from their packages."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def unpacked(suite: str, at: Path, packages: Sequence[str]) -> Path:
    """Fetch the packages from this machine's mirror, with its keys but a state of our own.

    Skips the test if they cannot be had.
    """
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(REPO_URI)", "Identifier: Packages"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    mirror = re.search(r"^Debian main (\S+)$", targets, re.MULTILINE)
    if mirror is None:
        pytest.skip("needs a Debian mirror in apt's configuration")
    for directory in ("lists/partial", "archives/partial", "debs", "root"):
        (at / directory).mkdir(parents=True)
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    signed = f"[signed-by={keyring}] " if keyring.exists() else ""
    (at / "sources.list").write_text(f"deb {signed}{mirror[1]} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": at / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": at / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": at,
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20",
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    for words in (["update"], ["download", *packages]):
        done = subprocess.run(
            ["apt-get", "-q", *options, *words], cwd=at / "debs", capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"packages of {suite} cannot be fetched: {done.stderr.strip().splitlines()[-1:]}")
    for name in ("bin", "sbin", "lib", "lib64"):
        # Since trixie these packages do not contain the paths, and base-files has the links.
        (at / "root/usr" / name).mkdir(parents=True, exist_ok=True)
        (at / "root" / name).symlink_to(f"usr/{name}")
    for package in (at / "debs").glob("*.deb"):
        contents = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
        unpack = ["tar", "-x", "-C", str(at / "root"), "--keep-directory-symlink"]
        subprocess.run(unpack, input=contents, check=True)
    return at / "root"
