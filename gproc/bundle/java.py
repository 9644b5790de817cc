"""Java: the archives that a jar's manifest names beside it.

Source: the JAR File Specification, "Class-Path".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from gproc.bundle.image import Image

_MANIFEST: Final = "META-INF/MANIFEST.MF"
_MANIFEST_BYTES_MAX: Final = 1 << 20
_JARS_MAX: Final = 1000


def class_path_of(image: Image, jar: str) -> Iterator[str]:
    """The files on the class path of a jar, and of those on it."""
    from urllib.parse import unquote

    todo, seen = [jar], {jar}
    while todo:
        here = todo.pop()
        for name in _named(image, here):
            path = os.path.normpath(os.path.join(os.path.dirname(here), unquote(name)))
            if path not in seen and len(seen) < _JARS_MAX and image.is_file(path):
                seen.add(path)
                todo.append(path)
                yield path


def _named(image: Image, jar: str) -> list[str]:
    import zipfile  # 20 ms, which other programs need not wait for
    import zlib

    walk = image.glance(jar)
    if walk is None:
        return []
    try:
        with zipfile.ZipFile(image.host(walk.real)) as archive, archive.open(_MANIFEST) as file:
            text = file.read(_MANIFEST_BYTES_MAX).decode("utf-8", "replace")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return []  # a program's script that is no jar, or one that Java would refuse too
    lines = text.replace("\r\n", "\n").replace("\n ", "").splitlines()
    value = next((line.partition(":")[2] for line in lines if line.lower().startswith("class-path:")), "")
    return [each for each in value.split() if "://" not in each and not each.startswith(("/", "file:"))]
