"""What is installed on a system, as its package manager's database says: the same for each kind of database."""

from __future__ import annotations

from typing import Protocol

import msgspec

Relations = tuple[tuple[str, ...], ...]
"""Names of packages, or of what they provide; any one of each tuple will do."""


class InstalledPackage(msgspec.Struct):
    """size_kib: installed; 0 if it is not known.  is_essential: it is part of every system of this kind."""

    name: str
    depends: Relations
    recommends: Relations
    is_essential: bool
    size_kib: int


class PackageDatabase(Protocol):
    """packages: by name.  providers: the packages that provide a name that is not their own."""

    manager: str
    """Its name, for messages: "dpkg"."""
    alternatives: str
    """The directory of update-alternatives(1) with a file for each name that one of several programs has."""
    packages: dict[str, InstalledPackage]
    providers: dict[str, list[str]]

    def files(self, name: str) -> list[str]:
        """What this package has installed: files, links and directories."""
