"""What a package installs, by dpkg's data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.bundle.distribution.packages import Packages
from gproc.bundle.image import Image
from gproc.errors import BundleError
from gproc.packager import Bundle

STATUS = """Package: tool
Status: install ok installed
Installed-Size: 10
Depends: tool-data (>= 1), base, virtual | other:any
Recommends: small, large

Package: tool-data
Status: install ok installed

Package: base
Status: install ok installed
Essential: yes

Package: real
Status: install ok installed
Provides: virtual (= 2)

Package: small
Status: install ok installed
Installed-Size: 20

Package: large
Status: install ok installed
Installed-Size: 900000

Package: gone
Status: deinstall ok config-files
"""

FILES = {
    "tool": ["/usr/bin/tool", "/usr/share/doc/tool/copyright", "/usr/share/man/man1/tool.1"],
    "tool-data": ["/usr/share/tool", "/usr/share/tool/data"],
    "base": ["/usr/bin/base"],
    "real": ["/usr/lib/real/helper"],
    "small": ["/usr/share/small/x"],
    "large": ["/usr/share/large/x"],
}


@pytest.fixture
def system(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (root / "var/lib/dpkg/status").write_text(STATUS)
    for name, paths in FILES.items():
        (info / f"{name}.list").write_text("".join(f"{path}\n" for path in ["/usr", *paths]))
        for path in paths:
            if path != "/usr/share/tool":
                (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
                (root / path[1:]).write_text("x")
    (root / "usr/share/tool/made-at-installation").write_text("x")
    return root


def test_a_package_and_its_dependencies_are_taken_and_what_every_system_has_is_not(system: Path) -> None:
    found = set(Packages(Image(str(system))).files_with("/usr/bin/tool", "/usr/bin/tool"))
    assert found == {
        "/usr/bin/tool", "/usr/share/tool/data", "/usr/share/tool/made-at-installation", "/usr/lib/real/helper",
        "/usr/share/small/x",
    }  # fmt: skip


def test_a_program_of_no_package_is_named(system: Path) -> None:
    with pytest.raises(BundleError, match="/opt/own: belongs to no package"):
        list(Packages(Image(str(system))).files_with("/opt/own", "/opt/own"))


def test_a_programs_package_goes_along_and_its_documentation_not(packed: Callable[..., Bundle]) -> None:
    if not os.path.exists("/var/lib/dpkg/info/file.list") or not os.path.exists("/usr/bin/file"):
        pytest.skip("needs Debian's package file")
    bundle = packed("/usr/bin/file", with_package=True)
    paths = {entry.path for entry in bundle.manifest.entries}
    assert b"/usr/lib/file/magic.mgc" in paths
    assert not [path for path in paths if path.startswith((b"/usr/share/doc/", b"/usr/share/man/"))]


def test_what_a_package_has_and_its_user_may_not_read_is_left_out(system: Path) -> None:
    """`gproc e --with-package . git` was refused to everybody but root: openssl's package has /etc/ssl/private."""
    (system / "usr/share/small/x").chmod(0)
    secret = system / "usr/share/tool/private"
    secret.mkdir()
    with (system / "var/lib/dpkg/info/tool-data.list").open("a") as listed:
        listed.write("/usr/share/tool/private\n")
    secret.chmod(0)
    for path in system.parents:
        if path.is_relative_to("/tmp/") and path != Path("/tmp") and path.owner() == system.owner():
            path.chmod(path.stat().st_mode | 0o055)
    before = os.geteuid()
    os.seteuid(before or 64_320)
    try:
        found = set(Packages(Image(str(system))).files_with("/usr/bin/tool", "/usr/bin/tool"))
    finally:
        os.seteuid(before)
        secret.chmod(0o700)
    assert found == {
        "/usr/bin/tool", "/usr/share/tool/data", "/usr/share/tool/made-at-installation", "/usr/lib/real/helper",
    }  # fmt: skip
