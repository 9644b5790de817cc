"""Data of a program of the distribution: directories that have its name, and those that it names itself.

FHS 3.0, 4.11.2: what a package reads and need not change lies in /usr/share/PACKAGE; what belongs to it alone, also
code, in /usr/lib/PACKAGE and /usr/libexec/PACKAGE.  A guess: what is too large, or closed to others, stays here.
Interpreters and some more programs have rules of their own (`bundle.libraries`).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from gproc.bundle import set_id
from gproc.bundle.image import Image
from gproc.bundle.libraries import existing
from gproc.bundle.linking.closure import Object
from gproc.bundle.texts import patterns
from gproc.content.paths import within

_PLACES: Final = ("share", "lib", "libexec", "lib/*-linux-*")
_PROGRAMS: Final = re.compile(r"(/usr|/usr/local)/(?:bin|sbin|games)/[^/]+")

_SAME_PROGRAM: Final = re.compile(r"([-_.]?\d[\w.+~-]*|-(core|data|common|modules|plugins))?")
"""What may follow the name of a program in that of its directory: cmake-3.25, bats-core, espeak-ng-data."""

_VERSION: Final = re.compile(r"[-.]?\d[\d.]*$")

_NAMED: Final = re.compile(rb"/usr/(?:share|lib|libexec|lib64)/[\w.+/~-]{2,200}")

_OF_ALL: Final = re.compile(
    r"/usr/(local/)?(share/(doc|man|info|locale|icons|themes|fonts|java|dict|mime|applications|pixmaps|terminfo|zoneinfo"
    r"|i18n|perl\d?|python\d?|sounds|X11|glib-2\.0|bash-completion|debconf|lintian|bug|pkgconfig|aclocal|keyrings|licenses"
    r"|common-licenses|dbus-1|polkit-1|tabset|wordlists|xml|sgml|mime-info)"
    r"|lib(64)?/(debug|cmake|locale|python[^/]*|ssl|gcc|jvm|modules|systemd|tmpfiles\.d|sysusers\.d|udev|pkgconfig"
    r"|ocaml|llvm[^/]*|os-release"
    r"|[^/]*-linux-[^/]*/(gconv|pkgconfig|perl[^/]*|dri|security|systemd|engines-[^/]*|ossl-modules|cmake)))(/.*)?"
    r"|/usr/(local/)?(share|lib|lib64|libexec)(/games)?|/usr/lib/[^/]*-linux-[^/]*"
)
"""What all programs share, and what other rules know: glibc's locales, zones, the libraries of interpreters."""

_OMITTED: Final = re.compile(r"docs?|man|[Hh]elp|html|demos?|tests?|examples?|po|locale|.*\.(a|pod|debug)")
_SEARCHED_BYTES: Final = 24 << 20
"""Of a program and its libraries: 40 ms."""

_NAMES_MAX: Final = 200
_FILES_MAX: Final = 4000
_BYTES_MAX: Final = 32 << 20
"""Of one program: CMake has 3,100 files with 18 MB, Tesseract 15 MB, PROJ 23 MB.  What has more is asked for by
--with-package."""

_SETTINGS_MAX: Final = 100
_SETTINGS_BYTES: Final = 1 << 20

_INSTALLED: Final = ("/usr/", "/etc/", "/var/lib/", "/bin/", "/lib/")
"""Links there may lead from a package to another one, as from /usr/share/ant/lib to /usr/share/java."""

_OPEN_TO_ALL: Final = stat.S_IROTH


class OwnData(NamedTuple):
    """settings: they give way to those of a node."""

    files: list[str]
    settings: list[str]


def of(image: Image, path: str, real: str, closure: Sequence[Object]) -> OwnData:
    """The files of a program's data: each directory whole, or none of it.

    closure: the program, if it is compiled, and its libraries.
    """
    data = OwnData([], [])
    left_files, left_bytes = _FILES_MAX, _BYTES_MAX
    taken: list[str] = []
    todo = list(dict.fromkeys((*_by_name(image, path, real), *_named(image, real, closure))))
    for place in todo:
        if any(within(place, each) for each in taken):
            continue
        found = _inside(image, place, left_files, left_bytes)
        if found is None:
            continue
        taken.append(place)
        left_files -= len(found)
        left_bytes -= sum(size for _, size in found)
        # /usr/lib/texinfo has a part of what is in /usr/share/texinfo.
        todo += [f"/usr/{each}/{os.path.basename(place)}" for each in _PLACES[:3]] if place.count("/") == 3 else []
        data.files.extend(each for each, _ in found)
    names = dict.fromkeys(map(os.path.basename, (path, real, *filter(image.is_directory, taken))))
    for name in names if _PROGRAMS.fullmatch(real) else ():
        if image.is_directory(place := f"/etc/{name}"):
            data.settings.extend(each for each, _ in _inside(image, place, _SETTINGS_MAX, _SETTINGS_BYTES) or ())
    return data


def _by_name(image: Image, path: str, real: str) -> Iterator[str]:
    """Directories below the prefix that have the name of the program."""
    match = _PROGRAMS.fullmatch(real)
    if match is None:
        return
    names = {os.path.basename(each) for each in (path, real)}
    names |= {_VERSION.sub("", name) for name in names}
    for place in _PLACES:
        for directory in existing(image, place, match[1], ""):
            for entry in patterns.names_of(image, directory):
                for name in names:
                    if name and entry.startswith(name) and _SAME_PROGRAM.fullmatch(entry[len(name) :]):
                        yield f"{directory}/{entry}"


def _named(image: Image, real: str, closure: Sequence[Object]) -> Iterator[str]:
    """What the program names in its file, or a library that it needs itself; a script, in its text."""
    program = next((each for each in closure if each.real == real), None)
    needed = program.elf.needed if program is not None else ()
    libraries = [each.real for each in closure if each.elf.soname in needed and not _of_c(each.elf.soname)]
    left = _SEARCHED_BYTES
    for path in (real, *libraries):
        text = image.text(path, left)
        left -= len(text)
        for name in sorted(set(_NAMED.findall(text)))[:_NAMES_MAX]:
            place = os.path.normpath(os.fsdecode(name))
            yield place
            above, _, start = place.rpartition("/")
            if not image.is_directory(place) or image.names(place) == []:
                # libmagic is told /usr/share/misc/magic, and reads magic.mgc.
                beside = [each for each in patterns.names_of(image, above) if each.startswith(f"{start}.")]
                yield from (f"{above}/{each}" for each in beside)


def _of_c(soname: str) -> bool:
    return soname.startswith(("libc.so", "libm.so", "libstdc++.so", "libgcc_s.so", "libpthread.so", "libdl.so", "ld-"))


def _inside(image: Image, place: str, files_max: int, bytes_max: int) -> list[tuple[str, int]] | None:
    """None if it is nothing, is of all programs, or has too much."""
    walk = image.glance(place)
    if walk is None or _OF_ALL.fullmatch(place) or _OF_ALL.fullmatch(walk.real):
        return None
    found: dict[str, int] = {}
    size_bytes = 0
    todo = [place]
    while todo:
        path = todo.pop()
        walk = image.glance(path)
        if walk is None or not walk.status.st_mode & _OPEN_TO_ALL or not walk.real.startswith(_INSTALLED):
            continue
        if stat.S_ISREG(walk.status.st_mode) and not set_id.has(image, path):
            found[path] = walk.status.st_size
            size_bytes += walk.status.st_size
        elif stat.S_ISDIR(walk.status.st_mode) and (path == place or walk.real == path):
            todo += [f"{path}/{name}" for name in patterns.names_of(image, path) if not _OMITTED.fullmatch(name)]
        if len(found) + len(todo) > 2 * files_max or size_bytes > bytes_max:
            return None
    return list(found.items()) if found and len(found) <= files_max else None


def is_script(image: Image, path: str) -> bool:
    """Whether it is executed, and by an interpreter: a part of the program in its own directory."""
    walk = image.glance(path)
    return walk is not None and walk.status.st_mode & 0o111 != 0 and image.text(walk.real, 2) == b"#!"
