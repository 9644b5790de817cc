"""What a package installs, by rpm's data: packages and databases are made by the real rpm."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.bundle.distribution import rpm
from gproc.bundle.distribution.packages import Packages
from gproc.bundle.distribution.rpm import Header, Rpm, split
from gproc.bundle.image import Image
from gproc.errors import BundleError
from gproc.packager import Bundle

pytestmark = pytest.mark.skipif(not shutil.which("rpmbuild"), reason="needs rpmbuild, of Debian's package rpm")

SPECS = {
    "tool": (
        "Requires: tool-data >= 1, virtual, /usr/libexec/helper, /bin/base, (rich if tool-data)\nRecommends: small",
        ["/usr/bin/tool", "/usr/share/doc/tool/copyright", "/usr/share/man/man1/tool.1"],
    ),
    "tool-data": ("", ["/usr/share/tool/", "/usr/share/tool/data"]),
    "bash": ("", ["/usr/bin/base"]),
    "real": ("Provides: virtual = 2", ["/usr/lib/real/plugin"]),
    "helper": ("", ["/usr/libexec/helper"]),
    "rich": ("", ["/usr/share/rich/x"]),
    "small": ("", ["/usr/share/small/x"]),
    "other": ("Requires: tool", ["/usr/bin/other"]),
}


def make(work: Path, name: str, tags: str, files: list[str]) -> Path:
    lines = [f"mkdir -p %{{buildroot}}{os.path.dirname(path.rstrip('/'))}" for path in files]
    lines += [f"mkdir -p %{{buildroot}}{path}" for path in files if path.endswith("/")]
    lines += [f"echo {name} > %{{buildroot}}{path}" for path in files if not path.endswith("/")]
    listed = [f"%dir {path.rstrip('/')}" if path.endswith("/") else path for path in files]
    spec = work / f"{name}.spec"
    spec.write_text(
        f"Name: {name}\nVersion: 1\nRelease: 1\nSummary: a test\nLicense: MIT\nBuildArch: noarch\n"
        f"AutoReqProv: no\n{tags}\n%description\na test\n%install\n"
        + "\n".join([*lines, "%files", *listed, ""])
    )
    defined = ["--define", f"_topdir {work}", "--define", "__os_install_post %{nil}"]
    subprocess.run(["rpmbuild", "-bb", "--quiet", *defined, str(spec)], check=True, capture_output=True)
    return work / "RPMS/noarch" / f"{name}-1-1.noarch.rpm"


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    work = tmp_path_factory.mktemp("rpmbuild")
    return [make(work, name, *spec) for name, spec in SPECS.items()]


def installed(root: Path, rpms: list[Path]) -> Path:
    """A system whose packages rpm has unpacked and noted."""
    root.mkdir()
    dbpath = str(root / "var/lib/rpm")
    command = ["rpm", "--dbpath", dbpath, "-i", "--justdb", "--nodeps", *map(str, rpms)]
    subprocess.run(command, check=True, capture_output=True)
    for package in rpms:
        archive = subprocess.run(["rpm2archive", "-n", "-"], stdin=open(package, "rb"), check=True, capture_output=True)  # noqa: SIM115
        subprocess.run(["tar", "-xf", "-", "-C", str(root)], input=archive.stdout, check=True)
    (root / "usr/share/tool/made-at-installation").write_text("x")
    return root


FOUND = {
    "/usr/bin/tool", "/usr/share/tool/data", "/usr/share/tool/made-at-installation", "/usr/lib/real/plugin",
    "/usr/libexec/helper", "/usr/share/small/x", "/usr/share/rich/x",
}  # fmt: skip


def test_a_package_and_its_dependencies_are_taken_and_what_every_system_has_is_not(
    tmp_path: Path, rpms: list[Path]
) -> None:
    root = installed(tmp_path / "root", rpms)
    assert set(Packages(Image(str(root))).files_with("/usr/bin/tool", "/usr/bin/tool")) == FOUND
    with pytest.raises(BundleError, match="/opt/own: belongs to no package that rpm knows"):
        list(Packages(Image(str(root))).files_with("/opt/own", "/opt/own"))


def test_a_database_of_another_kind_is_read_by_rpm_itself(
    tmp_path: Path, rpms: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's rpm makes no such database, so here its rpmdb exports one of SQLite."""
    root = installed(tmp_path / "root", rpms)
    (root / "var/lib/rpm").rename(tmp_path / "apart")
    (root / "var/lib/rpm").mkdir()
    (root / "var/lib/rpm/Packages.db").write_text("RpmP")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BundleError, match=r"only rpm itself can read, and there is no rpmdb in PATH"):
        Rpm(Image(str(root)))
    (tmp_path / "bin").mkdir()
    rpmdb = tmp_path / "bin/rpmdb"
    rpmdb.write_text(f'#!/bin/sh\ntest "$3" = {root}/var/lib/rpm && exec /usr/bin/rpmdb "$1" "$2" {tmp_path}/apart\n')
    rpmdb.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert set(Packages(Image(str(root))).files_with("/usr/bin/tool", "/usr/bin/tool")) == FOUND


def test_rpm_lists_the_same_files(tmp_path: Path, rpms: list[Path]) -> None:
    root = installed(tmp_path / "root", rpms)
    database = Rpm(Image(str(root)))
    for name in SPECS:
        told = subprocess.run(
            ["rpm", "--dbpath", str(root / "var/lib/rpm"), "-ql", name], check=True, capture_output=True, text=True
        )
        assert database.files(name) == told.stdout.splitlines()


def test_a_package_that_is_installed_later_is_seen(tmp_path: Path, rpms: list[Path]) -> None:
    root = installed(tmp_path / "root", rpms[1:])
    assert "tool" not in Rpm(Image(str(root))).packages
    dbpath = str(root / "var/lib/rpm")
    subprocess.run(["rpm", "--dbpath", dbpath, "-i", "--justdb", "--nodeps", rpms[0]], check=True, capture_output=True)
    assert "tool" in Rpm(Image(str(root))).packages


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    place = tmp_path / "root/var/lib/rpm"
    place.mkdir(parents=True)
    (place / "rpmdb.sqlite").write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(BundleError, match=r"rpmdb\.sqlite: rpm's database cannot be read: "):
        Rpm(Image(str(tmp_path / "root")))
    (place / "rpmdb.sqlite").unlink()
    with sqlite3.connect(place / "rpmdb.sqlite") as database:
        database.execute("create table Packages (hnum integer primary key, blob blob)")
        database.execute("insert into Packages values (1, ?)", (struct.pack(">II", 1, 0),))
    with pytest.raises(BundleError, match="a header of rpm's database ends too early"):
        Rpm(Image(str(tmp_path / "root")))


@given(st.binary(max_size=200), st.integers(0, 3), st.integers(0, 40))
def test_any_bytes_are_a_header_or_a_clear_error(tail: bytes, entries: int, length: int) -> None:
    for data in (tail, struct.pack(">II", entries, length) + tail):
        try:
            header = Header(data)
            for tag in range(1000, 1120):
                header.strings(tag)
                header.numbers(tag)
            list(split(data))
        except BundleError as error:
            assert "rpm" in str(error)


def test_a_programs_package_goes_along(tmp_path: Path, rpms: list[Path], packed: Callable[..., Bundle]) -> None:
    root = installed(tmp_path / "root", rpms)
    shutil.copy("/bin/true", root / "usr/bin/tool")
    for part in ("lib64", "lib/x86_64-linux-gnu/libc.so.6"):
        source = os.path.realpath(f"/{part}")
        target = root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if os.path.isdir(source) else shutil.copy(source, target)
    bundle = packed("/usr/bin/tool", root=str(root), with_package=True)
    paths = {os.fsdecode(file.path) for file in bundle.manifest.files()}
    assert paths >= FOUND
    assert not [path for path in paths if path.startswith(("/usr/share/doc/", "/usr/share/man/"))]


def test_an_rpmdb_that_writes_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that it wrote was read into memory, and its size was looked at then."""
    place = tmp_path / "root/var/lib/rpm"
    place.mkdir(parents=True)
    (place / "Packages.db").write_text("RpmP")
    (tmp_path / "rpmdb").write_text("#!/bin/sh\nexec /usr/bin/yes\n")
    (tmp_path / "rpmdb").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(rpm, "_EXPORT_BYTES_MAX", 1 << 20)
    with pytest.raises(BundleError, match="it is too large"):
        Rpm(Image(str(tmp_path / "root")))
