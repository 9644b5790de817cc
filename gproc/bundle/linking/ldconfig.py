"""A system's configuration of its dynamic linker: ld.so.cache, ld.so.conf, built-in directories, musl's path file.

Source: ldconfig(8); glibc's sysdeps/generic/dl-cache.h for the layout of the cache.
"""

from __future__ import annotations

import fnmatch
import os
import re
import struct
from typing import Final

import msgspec

from gproc.bundle.image import Image
from gproc.bundle.linking.elf import Abi

_CONFIG_MAX_BYTES: Final = 1 << 20
"""A configuration file; Debian's have 100 bytes."""
_CACHE_MAX_BYTES: Final = 64 << 20
"""ld.so.cache; 70 KB for 1,000 libraries."""
_LOADER_MAX_BYTES: Final = 8 << 20
"""The dynamic linker itself; glibc's has 210 KB, musl's, which is its libc too, 700."""

MUSL_DEFAULT_DIRS: Final[tuple[str, ...]] = ("/lib", "/usr/local/lib", "/usr/lib")
"""The directories that musl searches without a path file (dynlink.c, load_library)."""

_MAGIC: Final = b"glibc-ld.so.cache1.1"
_OLD_MAGIC: Final = b"ld.so-1.7.0\0"
_HEADER_BYTES: Final = 48
_OLD_HEADER_BYTES, _OLD_ENTRY_BYTES = 16, 12

# The loader's own directories follow each other in its file as "/lib/x86_64-linux-gnu/\0/usr/lib/.../\0", for any
# distribution and prefix that glibc was built for.
_SYSTEM_DIRS: Final = re.compile(rb"(?:(?:/[A-Za-z0-9_.+@-]+)+/\0)+")


class CacheEntry(msgspec.Struct, frozen=True):
    """A library that ldconfig found.  variant: whether it is a build for certain processors."""

    path: str
    variant: bool


class System(msgspec.Struct, frozen=True):
    """The places that a loader searches for every program.

    default_dirs: built into the loader.  searched_last: these; if there is no cache, the configured ones before them.
    cache: ld.so.cache by library name, best first; None if there is none that can be read.
    """

    default_dirs: tuple[str, ...]
    searched_last: tuple[str, ...]
    cache: dict[str, list[CacheEntry]] | None = None


NO_SYSTEM: Final = System((), ())
"""For a static program: it loads no libraries."""


def glibc_system(image: Image, loader: str, abi: Abi) -> System:
    default_dirs = glibc_default_dirs(image, loader)
    entries = cache(image, abi)
    if entries is not None:
        return System(default_dirs, default_dirs, entries)
    # A root that was unpacked but never booted has no cache yet.  These are the directories that ldconfig would index.
    return System(default_dirs, (*configured_dirs(image), *default_dirs))


def musl_system(image: Image, loader: str) -> System:
    """The directories in /etc/ld-musl-ARCH.path below the loader's prefix, split at lines and colons, or musl's own."""
    directory, name = os.path.split(loader)
    architecture = name.removeprefix("ld-musl-").partition(".so")[0]
    path = f"{os.path.dirname(directory).rstrip('/')}/etc/ld-musl-{architecture}.path"
    text = image.content(path, _CONFIG_MAX_BYTES)
    if text is None:
        return System(MUSL_DEFAULT_DIRS, MUSL_DEFAULT_DIRS)
    named = (part for part in re.split("[:\n]", os.fsdecode(text)) if part.startswith("/"))
    return System(MUSL_DEFAULT_DIRS, tuple(named))


def glibc_default_dirs(image: Image, loader: str) -> tuple[str, ...]:
    """The directories that are built into this loader; if none are found, those that every glibc has."""
    content = image.content(loader, _LOADER_MAX_BYTES) or b""
    runs = _SYSTEM_DIRS.findall(content)
    if not runs:
        return ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
    return tuple(os.fsdecode(path).rstrip("/") for path in max(runs, key=len).split(b"\0") if path)


def configured_dirs(image: Image) -> list[str]:
    """The directories of ld.so.conf and of the files that it includes, in order."""
    return _configured_by(image, "/etc/ld.so.conf", set())


def _configured_by(image: Image, path: str, read: set[str]) -> list[str]:
    text = image.content(path, _CONFIG_MAX_BYTES) if path not in read else None
    read.add(path)
    if text is None:
        return []
    found = []
    for line in os.fsdecode(text).splitlines():
        line = line.partition("#")[0].strip()
        keyword, _, patterns = line.partition(" ")
        if keyword == "include":
            for pattern in patterns.split():
                for included in _glob(image, os.path.join(os.path.dirname(path), pattern)):
                    found += _configured_by(image, included, read)
        elif line.startswith("/"):
            found.append(line.partition("=")[0].rstrip().rstrip("/") or "/")
    return found


def cache(image: Image, abi: Abi) -> dict[str, list[CacheEntry]] | None:
    """ld.so.cache by library name, best first; None if there is none that can be read."""
    data = image.content("/etc/ld.so.cache", _CACHE_MAX_BYTES)
    if data is None:
        return None
    try:
        return _parse_cache(data, "<" if abi.little else ">")
    except (struct.error, ValueError):
        return None


def _parse_cache(data: bytes, order: str) -> dict[str, list[CacheEntry]] | None:
    start = 0
    if data.startswith(_OLD_MAGIC):
        count = struct.unpack_from(order + "I", data, 12)[0]
        start = -(-(_OLD_HEADER_BYTES + count * _OLD_ENTRY_BYTES) // 8) * 8
    if data[start : start + len(_MAGIC)] != _MAGIC:
        return None
    count = struct.unpack_from(order + "I", data, start + len(_MAGIC))[0]
    layout = struct.Struct(order + "iIIIQ")
    entries: dict[str, list[CacheEntry]] = {}
    table = data[start + _HEADER_BYTES : start + _HEADER_BYTES + count * layout.size]
    for _, name, value, _, hwcap in layout.iter_unpack(table):
        entry = CacheEntry(_string(data, start + value), hwcap != 0)
        entries.setdefault(_string(data, start + name), []).append(entry)
    return entries


def _string(data: bytes, offset: int) -> str:
    return os.fsdecode(data[offset : data.index(b"\0", offset)])


def _glob(image: Image, pattern: str) -> list[str]:
    """Paths that match a pattern of ld.so.conf, sorted; any part may have wildcards."""
    paths = [""]
    for part in pattern.strip("/").split("/"):
        if any(character in part for character in "*?["):
            paths = [f"{path}/{name}" for path in paths for name in image.names(path) if fnmatch.fnmatch(name, part)]
        else:
            paths = [f"{path}/{part}" for path in paths]
    return paths
