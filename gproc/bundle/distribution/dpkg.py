"""The database of dpkg.  Sources: deb-control(5); dpkg-query(1) for the files below /var/lib/dpkg."""

from __future__ import annotations

import os
import re
from typing import Final

from gproc.bundle.distribution.installed import InstalledPackage, Relations
from gproc.bundle.image import Image

_DPKG: Final = "/var/lib/dpkg"
_STATUS_BYTES_MAX: Final = 64 << 20
_LIST_BYTES_MAX: Final = 16 << 20


class Dpkg:
    manager = "dpkg"
    alternatives = f"{_DPKG}/alternatives"

    def __init__(self, image: Image) -> None:
        self.packages: dict[str, InstalledPackage] = {}
        self.providers: dict[str, list[str]] = {}
        self._image = image
        self._lists: dict[str, list[str]] = {}
        self._files: dict[str, list[str]] = {}
        for each in image.names(f"{_DPKG}/info"):
            if each.endswith(".list"):
                self._lists.setdefault(each.removesuffix(".list").partition(":")[0], []).append(each)
        text = os.fsdecode(image.content(f"{_DPKG}/status", _STATUS_BYTES_MAX) or b"")
        for paragraph in text.split("\n\n"):
            self._add(dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.MULTILINE)))

    def files(self, name: str) -> list[str]:
        if name not in self._files:
            found: list[str] = []
            for each in self._lists.get(name, ()):
                text = self._image.content(f"{_DPKG}/info/{each}", _LIST_BYTES_MAX) or b""
                found += os.fsdecode(text).splitlines()
            self._files[name] = found
        return self._files[name]

    def _add(self, fields: dict[str, str]) -> None:
        name = fields.get("Package", "")
        if not name or not fields.get("Status", "").endswith(" installed"):
            return
        self.packages[name] = InstalledPackage(
            name,
            (*_relations(fields.get("Pre-Depends", "")), *_relations(fields.get("Depends", ""))),
            _relations(fields.get("Recommends", "")),
            fields.get("Essential") == "yes",
            int(fields.get("Installed-Size", "0") or 0),
        )
        for alternatives in _relations(fields.get("Provides", "")):
            self.providers.setdefault(alternatives[0], []).append(name)


def _relations(field: str) -> Relations:
    """`a (>= 1) | b:any, c` as names: one tuple for each comma."""
    found = []
    for part in field.split(","):
        names = tuple(re.split(r"[ (:\[<]", each.strip(), maxsplit=1)[0] for each in part.split("|") if each.strip())
        if names:
            found.append(names)
    return tuple(found)
