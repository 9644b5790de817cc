"""The parts of glibc, and the files that it loads by name, which no linker lists.

The parts of one glibc call each other by private symbols (GLIBC_PRIVATE) and are valid only together.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from gproc.bundle.image import Image
from gproc.bundle.linking import elf
from gproc.bundle.linking.closure import Object

_PARTS: Final = (
    "ld-linux*.so.*", "ld64.so.*", "ld.so.*", "ld-2.*.so", "libc.so.*", "libc-2.*.so", "libm.so.*", "libm-2.*.so",
    "libmvec.so.*", "libmvec-2.*.so", "libpthread.so.*", "libpthread-2.*.so", "libdl.so.*", "libdl-2.*.so",
    "librt.so.*", "librt-2.*.so", "libutil.so.*", "libutil-2.*.so", "libresolv.so.*", "libresolv-2.*.so",
    "libanl.so.*", "libanl-2.*.so", "libnsl.so.1", "libnsl-2.*.so", "libBrokenLocale.so.*", "libthread_db.so.*",
    "libc_malloc_debug.so.*", "libnss_files.so.*", "libnss_files-2.*.so", "libnss_dns.so.*", "libnss_dns-2.*.so",
    "libnss_compat.so.*", "libnss_compat-2.*.so", "libnss_hesiod.so.*", "libnss_db.so.*",
)  # fmt: skip
"""File names of the shared objects of glibc 2.17 to 2.42 (extra-libs in its Makefiles, and nss/)."""

_PART: Final = re.compile("|".join(map(fnmatch.translate, _PARTS)))

_NSS_MODULES: Final = ("libnss_files.so.2", "libnss_dns.so.2", "libnss_compat.so.2")
"""The modules of glibc itself, which must have its version.  Other modules are the node's own, like nsswitch.conf."""

_NSS_CALLERS: Final = frozenset(
    b"getpwnam getpwnam_r getpwuid getpwuid_r getpwent getgrnam getgrnam_r getgrgid getgrgid_r getgrent getgrouplist"
    b" initgroups getaddrinfo getnameinfo gethostbyname gethostbyname_r gethostbyname2 gethostbyname2_r gethostbyaddr"
    b" gethostbyaddr_r getservbyname getservbyport getprotobyname getnetbyname getspnam".split()
)

UTF8_LOCALE: Final = "/usr/lib/locale/C.utf8"
"""C.UTF-8 (400 KB), where the glibc of Debian and Fedora looks for it.  A node without locales may lack it."""

_LOCALISED: Final = frozenset({b"setlocale"})

_CONVERTERS: Final = frozenset({b"iconv_open"})

_CONVERTS_RARELY: Final = ("bash",)
"""Programs that import iconv_open for a rare case, for which gconv's 8 MB are too much (bash: \\u outside UTF-8)."""

_VERSION: Final = re.compile(rb"GNU C Library [^\n]{0,200}? release version ([0-9]{1,9})\.([0-9]{1,9})")
_LIBC_MAX_BYTES: Final = 32 << 20
"""The part of libc.so.6 that is searched for the banner; Debian's has 2 MB."""


_COMPANION: Final = "libgcc_s.so.1"
"""What glibc loads by name for pthread_cancel(3) and backtrace(3)."""


def is_companion(path: str) -> bool:
    """Whether a file is not of glibc, but loaded by it."""
    return os.path.basename(path) == _COMPANION


def parts(image: Image, directory: str) -> Iterator[str]:
    """The paths of all parts of the glibc whose libc is in this directory, and of what it loads by name."""
    for name in image.names(directory):
        path = f"{directory}/{name}"
        if (is_part(path) or name == _COMPANION) and image.walk(path) is not None:
            yield path


def is_part(path: str) -> bool:
    """Whether a file is part of glibc itself."""
    directory, name = os.path.split(path)
    if os.path.basename(directory) == "gconv":
        return name.endswith(".so")
    return _PART.match(name) is not None


def version(image: Image, objects: Iterable[Object]) -> tuple[int, int]:
    """The version in the banner of libc.so.6; (0, 0) if no glibc is among the objects."""
    for each in objects:
        if "libc.so.6" in (each.elf.soname, each.name):
            with open(image.host(each.real), "rb") as file:
                banner = _VERSION.search(file.read(_LIBC_MAX_BYTES))
            if banner:
                return int(banner[1]), int(banner[2])
    return 0, 0


def uses_names(image: Image, objects: Iterable[Object]) -> bool:
    """Whether an object looks up users, groups or hosts, and so loads NSS modules."""
    return any(
        elf.mentions(image.host(each.real), each.elf, _NSS_CALLERS) for each in objects if not is_part(each.real)
    )


def is_localised(image: Image, program: Object) -> bool:
    """Whether the program itself asks for the caller's locale."""
    return elf.mentions(image.host(program.real), program.elf, _LOCALISED)


def converts(image: Image, program: Object) -> bool:
    """Whether the program itself converts character sets."""
    if os.path.basename(program.real) in _CONVERTS_RARELY:
        return False
    return elf.mentions(image.host(program.real), program.elf, _CONVERTERS)


def name_modules(image: Image, libc: str) -> Iterator[str]:
    """Paths of glibc's own NSS modules, beside its libc."""
    directory = os.path.dirname(libc)
    for name in _NSS_MODULES:
        if image.search(directory, name) is not None:
            yield f"{directory}/{name}"


def conversion_files(image: Image, libc: str) -> tuple[list[str], list[str]]:
    """gconv's modules, and the tables that name them, beside libc or in the same directory below /usr."""
    for base in (os.path.dirname(libc), f"/usr{os.path.dirname(libc)}"):
        directory = f"{base}/gconv"
        names = image.names(directory)
        if names:
            modules = [f"{directory}/{name}" for name in names if name.endswith(".so")]
            tables = [f"{directory}/{name}" for name in names if name.startswith("gconv-modules") and name[-2:] != ".d"]
            more = [f"{directory}/gconv-modules.d/{name}" for name in image.names(f"{directory}/gconv-modules.d")]
            return modules, tables + more
    return [], []


def paths(
    image: Image, objects: Mapping[str, Object], bundled: Iterable[str], extras: Collection[str]
) -> list[str]:
    """The paths of the parts of glibc in a bundle, and of links to them.

    objects: by path, those of all closures.  bundled: all paths.  extras: what -f added, which counts as no part.
    """
    if not any(each.elf.soname == "libc.so.6" for each in objects.values()):
        return []
    found = [each for each in objects.values() if is_part(each.real) and each.path not in extras]
    places = {os.path.dirname(each.real) for each in found}
    places |= {os.path.dirname(image.parent(each.path) or each.path) for each in found}
    needed = {each.real for each in objects.values()}
    return sorted(
        path
        for path in bundled
        if os.path.dirname(path) in places and (is_part(path) or (is_companion(path) and path not in needed))
    )
