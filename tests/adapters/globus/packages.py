"""Globus' own programs, from Debian's packages: unpacked for these tests, or those that are installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fidelity.releases import unpacked

PACKAGES = [
    "libglobus-common0", "libglobus-xio0", "libglobus-gfork0", "libglobus-authz-callout-error0", "libglobus-callout0",
    "libglobus-gsi-openssl-error0", "libglobus-gsi-sysconfig1", "libglobus-authz0", "libglobus-gsi-proxy-ssl1",
    "libglobus-openssl-module0", "libglobus-gsi-cert-utils0", "libglobus-gsi-callback0", "libglobus-gsi-credential1",
    "libglobus-gsi-proxy-core0", "libglobus-gssapi-gsi4", "libglobus-gss-assist3", "libglobus-gssapi-error2",
    "libglobus-xio-gsi-driver", "libglobus-io3", "libglobus-ftp-control1", "libglobus-xio-pipe-driver",
    "libglobus-gridftp-server-control0", "libglobus-gridftp-server6", "globus-gridftp-server-progs",
    "libglobus-xio-popen-driver", "libglobus-ftp-client2", "libglobus-gass-transfer2", "libglobus-gass-copy2",
    "globus-gass-copy-progs", "globus-gfork-progs", "libltdl7", "libssl3",
]  # fmt: skip


class Globus:
    """root: of the system that has them."""

    def __init__(self, root: Path) -> None:
        self.gfork = root / "usr/sbin/gfork"
        self.master = root / "usr/sbin/gfs-gfork-master"
        self.server = root / "usr/sbin/globus-gridftp-server"
        self.copy = root / "usr/bin/globus-url-copy"
        libraries = [str(path.parent) for path in root.glob("usr/lib/*/libglobus_gfork.so.0")]
        self.environment = {"LD_LIBRARY_PATH": libraries[0]} if root != Path("/") and libraries else {}

    @property
    def is_there(self) -> bool:
        return all(path.exists() for path in (self.gfork, self.master, self.server, self.copy))

    @property
    def lines(self) -> str:
        """The environment, for a file of gfork."""
        return "".join(f" env += {name}={value}\n" for name, value in self.environment.items())


def globus(at: Path) -> Globus:
    """The packages of GPROC_GLOBUS: a root, or `fetch`.  Skips the test if it is not set and none are installed."""
    chosen = os.environ.get("GPROC_GLOBUS", "/")
    found = Globus(unpacked("bookworm", at, PACKAGES) if chosen == "fetch" else Path(chosen))
    if not found.is_there:
        pytest.skip("needs Globus' gfork, GridFTP server and globus-url-copy: `make globus` fetches Debian's packages")
    return found
