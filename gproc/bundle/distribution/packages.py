"""What the package that owns a program installs, and what that depends on, without documentation.

The rules; the data are those of dpkg (`dpkg.py`) or rpm (`rpm.py`).  Source: update-alternatives(1).
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from gproc.bundle.distribution import rpm
from gproc.bundle.distribution.dpkg import Dpkg
from gproc.bundle.distribution.installed import PackageDatabase
from gproc.bundle.image import Image
from gproc.errors import BundleError

_ALTERNATIVE_BYTES_MAX: Final = 1 << 20
_RECOMMENDED_KIB_MAX: Final = 20_000
"""What the program's own package recommends goes along if it is no larger: gcc recommends libc6-dev, of 18 MB."""

_UNNEEDED: Final = re.compile(
    r"/usr/share/(doc|doc-base|man|info|locale|lintian|bug|applications|icons|pixmaps|bash-completion|menu|metainfo"
    r"|appdata|help|gtk-doc|mime|polkit-1|dbus-1)(/|$)"
    r"|/etc/(init\.d|cron\.|logrotate\.d|apparmor\.d|systemd|default|pam\.d|rc.\.d|dbus-1|bash_completion\.d)"
    r"|/lib/systemd/|/lib/udev/|/usr/lib/tmpfiles\.d/|/usr/lib/sysusers\.d/|/var/|/usr/share/perl5/Debconf"
)
_GENERATED_IN: Final = ("/usr/lib/", "/usr/share/", "/usr/libexec/", "/opt/")


def files_of(image: Image, program: str, others: Iterable[str]) -> Iterable[str]:
    """What the package of a program installs and depends on, each path once.

    others: programs that it runs, each of which counts if it is of a package: `sh -c 'gcc ...'`.
    """
    known = Packages(image)
    walk = image.walk(program)
    found = list(known.files_with(program, walk.real if walk is not None else program))
    for other in others:
        walk = image.walk(other)
        if walk is not None and known.owns(walk.real):
            found += known.files_with(other, walk.real)
    return dict.fromkeys(found)


class Packages:
    """The installed packages of an image."""

    def __init__(self, image: Image) -> None:
        """Raises: BundleError if there is a database that cannot be read."""
        self._image = image
        dpkg = Dpkg(image)
        self._database: PackageDatabase = rpm.Rpm(image) if not dpkg.packages and rpm.is_there(image) else dpkg
        self._packages = self._database.packages
        self._providers = self._database.providers
        self._list = self._database.files

    def files_with(self, program: str, real: str) -> Iterator[str]:
        """The paths that go along with a program: files, and links that lead to them.

        Raises: BundleError if no package owns the program.
        """
        owner = self._owner(real)
        if owner is not None and self._packages[owner].is_essential:
            return
        if owner is None:
            known = f"package that {self._database.manager} knows" if self._packages else "package of dpkg or rpm"
            raise BundleError(f"{self._image.shown(program)}: belongs to no {known}, so --with-package finds nothing")
        taken: dict[str, None] = {}
        needed = self._needed(owner)
        for name in needed:
            for path in self._list(name):
                if not _UNNEEDED.match(path):
                    taken[path] = None
        yield from (path for path in taken if self._is_file(path))
        yield from self._generated(taken, needed)
        yield from self._alternatives(taken)

    def owns(self, real: str) -> bool:
        """Whether a package owns this file, which is no part of every system."""
        owner = self._owner(real)
        return owner is not None and not self._packages[owner].is_essential

    def _owner(self, real: str) -> str | None:
        """On a system with merged /usr, the database may know a file by its older name."""
        names = {real, real.removeprefix("/usr")} if real.startswith("/usr/") else {real, f"/usr{real}"}
        for name in self._packages:
            if not names.isdisjoint(self._list(name)):
                return name
        return None

    def _needed(self, owner: str) -> list[str]:
        """The owner and all that it depends on, as far as it is installed and not part of every system."""
        found: dict[str, None] = {owner: None}
        recommended = [each for each in self._packages[owner].recommends if self._is_small(each)]
        todo = [*self._packages[owner].depends, *recommended]
        while todo:
            for each in todo.pop():
                for name in (each, *self._providers.get(each, ())):
                    package = self._packages.get(name)
                    if package is not None and name not in found and not package.is_essential:
                        found[name] = None
                        todo += package.depends
        return list(found)

    def _is_small(self, alternatives: tuple[str, ...]) -> bool:
        sizes = [self._packages[each].size_kib for each in alternatives if each in self._packages]
        return bool(sizes) and max(sizes) <= _RECOMMENDED_KIB_MAX

    def _is_file(self, path: str) -> bool:
        """A file that the user may not read, such as /etc/ssl/private, is of no use to the program here either."""
        try:
            status, walk = self._image.lstat(path), self._image.walk(path)
            if status is None or walk is None:
                return False
            if not os.access(self._image.host(walk.real), os.R_OK, effective_ids=True):
                return False
            # A directory that is empty as it was installed is part of what the package is: git's templates have one.
            return not stat.S_ISDIR(status.st_mode) or not self._image.names(path)
        except PermissionError:
            return False

    def _generated(self, taken: dict[str, None], needed: list[str]) -> Iterator[str]:
        """Files that were made at installation, in directories that only these packages have: caches, tables of
        plug-ins."""
        shared = Counter(path for name in self._packages for path in set(self._list(name)))
        own = Counter(path for name in needed for path in set(self._list(name)))
        for path in taken:
            if not path.startswith(_GENERATED_IN) or shared[path] > own[path] or not self._image.is_directory(path):
                continue
            if not os.access(self._image.host(path), os.R_OK | os.X_OK, effective_ids=True):
                continue
            for name in self._image.names(path):
                inside = f"{path}/{name}"
                status = self._image.lstat(inside)
                if inside not in taken and status is not None and stat.S_ISREG(status.st_mode):
                    yield inside

    def _alternatives(self, taken: dict[str, None]) -> Iterator[str]:
        for name in self._image.names(self._database.alternatives):
            path = f"{self._database.alternatives}/{name}"
            lines = os.fsdecode(self._image.content(path, _ALTERNATIVE_BYTES_MAX) or b"").splitlines()
            links = [line for line in lines[1:] if line.startswith(("/usr/", "/etc/"))]
            for link in links[:1]:
                walk = self._image.walk(link)
                if walk is not None and (walk.real in taken or walk.real.removeprefix("/usr") in taken):
                    yield link
