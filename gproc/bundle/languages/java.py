"""Java: the archives that a jar's manifest names beside it, and the strings of its classes.

Source: the JAR File Specification, "Class-Path"; the Java Virtual Machine Specification, 4.4.7.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from gproc.bundle.image import Image

if TYPE_CHECKING:
    from zipfile import ZipFile

_MANIFEST: Final = "META-INF/MANIFEST.MF"
_MANIFEST_BYTES_MAX: Final = 1 << 20
_JARS_MAX: Final = 1000
_JAR_BYTES_MAX: Final = 32 << 20
DIRECTORY_BYTES_MAX: Final = 2 << 20
_END_BYTES_MAX: Final = 22 + (1 << 16)
_CLASSES_BYTES_MAX: Final = 8 << 20
_CLASSES_MAX: Final = 2000
_CONSTANT: Final = re.compile(rb"\x01(\0[\x02-\xc8])([\w./@-]{2,200})")
"""A constant of a class: its tag, its length, and its text; what is no name of a file is none."""


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


def strings_of(image: Image, path: str) -> bytes:
    """The strings of a class, or of a jar's classes, each in quotes as in a source."""
    walk = image.glance(path)
    if walk is None or walk.status.st_size > _JAR_BYTES_MAX:
        return b""
    if path.endswith(".class"):
        text = image.text(walk.real, _CLASSES_BYTES_MAX)
    else:
        text = _in_archive(image, walk.real, _classes_in, DIRECTORY_BYTES_MAX)
    found = [name for length, name in _CONSTANT.findall(text) if length[1] >= len(name)]
    return b"\n".join(b'"%s"' % name for name in found)


def _classes_in(archive: ZipFile) -> bytes:
    """The classes, one after the other; a byte that is in no constant is between them."""
    texts, left = [], _CLASSES_BYTES_MAX
    for info in archive.infolist()[:_CLASSES_MAX]:
        if info.filename.endswith(".class") and info.file_size <= left:
            left -= info.file_size
            texts.append(archive.read(info))
    return b"\n".join(texts)


def _manifest_in(archive: ZipFile) -> bytes:
    with archive.open(_MANIFEST) as file:
        return file.read(_MANIFEST_BYTES_MAX)


def _in_archive(
    image: Image, real: str, read: Callable[[ZipFile], bytes], directory_bytes_max: int | None = None
) -> bytes:
    """What `read` finds; b"" if this is no archive, one that Java would refuse too, or one with a larger directory."""
    import zlib  # with zipfile 20 ms, which other programs need not wait for
    from zipfile import BadZipFile, ZipFile

    host = image.host(real)
    try:
        if directory_bytes_max is not None and _directory_bytes(host) > directory_bytes_max:
            return b""
        with ZipFile(host) as archive:
            return read(archive)
    except (OSError, KeyError, ValueError, BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return b""


def _directory_bytes(host: str) -> int:
    """The size of an archive's directory, which zipfile reads as a whole.  Source: APPNOTE.TXT of ZIP, 4.3.16."""
    with open(host, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        end = os.pread(file.fileno(), _END_BYTES_MAX, max(0, size - _END_BYTES_MAX))
    at = end.rfind(b"PK\5\6")
    return int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0


def _named(image: Image, jar: str) -> list[str]:
    walk = image.glance(jar)
    if walk is None:
        return []
    text = _in_archive(image, walk.real, _manifest_in).decode("utf-8", "replace")
    lines = text.replace("\r\n", "\n").replace("\n ", "").splitlines()
    value = next((line.partition(":")[2] for line in lines if line.lower().startswith("class-path:")), "")
    return [each for each in value.split() if "://" not in each and not each.startswith(("/", "file:"))]
