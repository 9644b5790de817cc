"""Interpreters by rules: where each keeps its library, below the prefix that it was installed in.  A table.

Python, Perl and node have modules of their own.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from typing import Final

from gproc.bundle.home import Home, Installation
from gproc.bundle.image import Image
from gproc.bundle.meaning import Ran
from gproc.bundle.texts.patterns import names_of
from gproc.content.paths import within

_OMITTED: Final = re.compile(r"/(doc|docs|man|help|html|demos?|tests?|examples?|po|locale)$|\.(h|a|la|pod|R[dD])$")

_LIBRARIES: Final = (
    (re.compile(r"(tclsh|wish)[\d.]*"), ("share/tcltk", "lib/tcltk", "lib/tcl8*", "lib/tk8*", "lib/*-linux-*/tcltk")),
    (
        re.compile(r"ruby[\d.]*"),
        (
            "lib/ruby", "lib/*-linux-*/ruby", "share/ruby", "share/rubygems-integration",
            "lib/*-linux-*/rubygems-integration", "/var/lib/gems", "~/.local/share/gem/ruby", "~/.gem/ruby",
        ),
    ),
    (re.compile(r"lua([\d.]*|jit)"), (
        "share/lua", "lib/lua", "lib/*-linux-*/lua", "local/share/lua", "local/lib/lua", "~/.luarocks/share/lua",
        "~/.luarocks/lib/lua",
    )),
    (re.compile(r"php[\d.]*"), ("lib/php", "lib/*-linux-*/php", "share/php", "/etc/php", "/var/lib/php/modules")),
    (re.compile(r"Rscript|R"), ("lib/R", "share/R", "/etc/R", "local/lib/R/site-library", "~/R")),
    (re.compile(r"guile[\d.-]*"), ("share/guile", "lib/guile", "lib/*-linux-*/guile")),
    (re.compile(r"zsh[\d.-]*"), ("share/zsh", "lib/zsh", "lib/*-linux-*/zsh")),
    (re.compile(r"gawk[\d.-]*"), ("share/awk", "lib/gawk", "lib/*-linux-*/gawk")),
    (re.compile(r"fish"), ("share/fish", "/etc/fish")),
    (re.compile(r"ksh\w*"), ("share/ksh",)),
    (
        re.compile(r"emacs(-\w+|[\d.]+)?"),
        (
            "share/emacs/*/lisp", "share/emacs/*/etc", "share/emacs/site-lisp", "lib/emacs", "libexec/emacs",
            "/etc/emacs", "/var/cache/dictionaries-common",
        ),
    ),
    (re.compile(r"swipl"), ("lib/swi-prolog", "lib/swipl")),
    (re.compile(r"sbcl"), ("lib/sbcl",)),
    (re.compile(r"erlc?|escript"), ("lib/erlang",)),
    (re.compile(r"octave(-cli)?"), ("share/octave", "lib/*-linux-*/octave", "lib/octave")),
    (re.compile(r"ocaml(run|\.byte|\.opt)?"), (
        "lib/ocaml/*.cmi", "lib/ocaml/*.cma", "lib/ocaml/ld.conf", "lib/ocaml/stublibs", "lib/ocaml/threads",
    )),
    (re.compile(r"pg_wrapper"), ("/usr/lib/postgresql/*/bin",)),
    (re.compile(r"m4|bison"), ("share/bison",)),
    (re.compile(r"pandoc"), ("share/pandoc",)),
    (re.compile(r"[gn]?roff|troff"), ("share/groff", "/etc/groff")),
    (re.compile(r"stdbuf"), ("libexec/coreutils", "lib/coreutils", "lib/*-linux-*/coreutils")),
    (re.compile(r"gst-(launch|inspect|discoverer)-[\d.]+"), (
        "lib/*-linux-*/gstreamer-1.0", "lib/*-linux-*/gstreamer1.0", "lib*/gstreamer-1.0", "libexec/gstreamer-1.0",
    )),
    (re.compile(r"gforth[\w.-]*"), ("lib/gforth", "lib/*-linux-*/gforth", "share/gforth")),
    (
        re.compile(r"dot|neato|twopi|circo|[fs]?fdp|osage|patchwork|libgvc\d+-config-update"),
        ("lib/graphviz", "lib*/graphviz", "lib/*-linux-*/graphviz"),
    ),
    (re.compile(r"7z[arz]?"), ("/usr/lib/p7zip", "/usr/lib/7zip", "lib/p7zip", "lib/7zip")),
    (re.compile(r"git"), ("share/git-core/templates",)),
    (
        re.compile(r"orterun|prterun"),
        (
            "lib/*-linux-*/openmpi/lib", "lib*/openmpi/lib", "lib/*-linux-*/pmix*", "share/openmpi", "share/pmix*",
            "/etc/openmpi",
        ),
    ),
    (re.compile(r"units"), ("share/units", "/var/lib/units")),
    (re.compile(r"cppcheck"), ("share/cppcheck", "lib/*-linux-*/cppcheck")),
    (re.compile(r"man"), ("lib/man-db", "libexec/man-db", "share/groff", "/etc/groff")),
    (re.compile(r"auto(conf|header|m4te|make|reconf|scan|update)[\d.-]*|aclocal[\d.-]*"), (
        "share/autoconf", "share/automake*", "share/aclocal*",
    )),
    (re.compile(r"gdb"), ("share/gdb", "/etc/gdb")),
    (re.compile(r"ltrace"), ("share/ltrace", "/etc/ltrace.conf")),
    (
        re.compile(r"gsc?|ghostscript"),
        ("share/ghostscript", "share/color/icc/ghostscript", "share/fonts/type1/urw-base35"),
    ),
)
"""A program's real name, and directories and files below its prefix, below the home (`~`), or absolute ones; `*` stands
for any part of a name."""

_ZONES: Final = "/usr/share/zoneinfo"
"""Debian's PHP warns at each start if it has none."""

_MANPATH: Final = "/etc/manpath.config"

LOADABLE: Final = "/usr/lib/bash"
"""What bash's `enable -f` loads."""

_ENABLES: Final = re.compile(rb"\benable\b[^\n;|&]*\s-\w*f")

_RUN: Final = {
    "Rscript": ("R",), "R": ("which", "rm"), "octave": ("octave-cli",), "flex": ("m4",), "bison": ("m4",),
    "expect": ("sh", "stty"), "parallel": ("ps",), "nroff": ("groff",), "escript": ("erl",),
    "mpiexec.hydra": ("hydra_pmi_proxy",), "mpiexec.mpich": ("hydra_pmi_proxy",), "orterun": ("orted", "ssh"),
    "dpkg-deb": ("tar", "rm"), "autoconf": ("autom4te", "sed", "grep"), "autom4te": ("m4",),
    "man": ("groff", "nroff", "troff", "grotty", "preconv", "tbl", "locale"),
    "groff": (
        "troff", "grotty", "grops", "preconv", "tbl", "eqn", "soelim", "pic", "refer", "grn", "gropdf", "post-grohtml",
    ),
}  # fmt: skip
"""The programs that an interpreter, or a script of the distribution, runs itself, by its real name."""

_JAVA: Final = re.compile(r"java|javac|jar|javap|jshell")
_JAVA_OMITTED: Final = re.compile(r"/(demo|man|legal|jmods|include)$|/src\.zip$")


def library_of(image: Image, path: str, real: str, home: str) -> Home | None:
    """The library of the interpreter at a path, and at a real path; None if none is known for its name.

    home: the caller's.
    """
    name = os.path.basename(real)
    # By /usr/bin/guile, or where that leads: /usr/lib/x86_64-linux-gnu/guile/3.0/bin/guile.
    prefixes = dict.fromkeys(_prefix(each) for each in (real, path))
    if _JAVA.fullmatch(name):
        prefix = next(iter(prefixes))
        return Home((Installation(prefix, _JAVA_OMITTED),)) if image.is_directory(f"{prefix}/lib") else None
    if name == "bash":
        return Home(lent=tuple(_files_in(image, LOADABLE)))
    run = tuple(map(Ran, _RUN.get(name, ())))
    for pattern, places in _LIBRARIES:
        if pattern.fullmatch(name):
            found = [existing(image, place, prefix, home) for prefix in prefixes for place in places]
            trees = dict.fromkeys(each for some in found for each in some)
            lent = tuple(_zones_in(image, _ZONES)) if name.startswith("php") else ()
            lent += (_MANPATH,) if name == "man" and image.is_file(_MANPATH) else ()
            directories = filter(image.is_directory, trees)
            return Home(
                tuple(Installation(each, _OMITTED) for each in directories), programs=run, lent=lent,
                files=tuple(each for each in trees if not image.is_directory(each)),
            )  # fmt: skip
    return Home(programs=run) if run else None


def loadable_of(image: Image, text: bytes) -> tuple[Installation, ...]:
    """What a text for bash loads: a node without views cannot run that, and runs other scripts."""
    return (Installation(LOADABLE),) if _ENABLES.search(text) and image.is_directory(LOADABLE) else ()


def _files_in(image: Image, directory: str) -> Iterator[str]:
    for name in image.names(directory):
        status = image.lstat(f"{directory}/{name}")
        if status is not None and stat.S_ISREG(status.st_mode):
            yield f"{directory}/{name}"


def _zones_in(image: Image, directory: str) -> Iterator[str]:
    for name in image.names(directory):
        path = f"{directory}/{name}"
        status = image.lstat(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            yield from _zones_in(image, path)
        elif (walk := image.walk(path)) is not None and within(walk.real, _ZONES):
            yield path  # a link out of it, such as localtime, is left to the node


def _prefix(path: str) -> str:
    prefix = os.path.dirname(os.path.dirname(path))
    return prefix if prefix not in ("", "/") else "/usr"


def existing(image: Image, place: str, prefix: str, home: str) -> Iterator[str]:
    """The directories and files that a place means, in which `*` stands for any part of a name.

    place: below `prefix`, below the home if it begins with `~/`, or absolute.
    """
    if place.startswith("~/") and not home.startswith("/"):
        return
    found = [""] if place.startswith("/") else [home.rstrip("/")] if place.startswith("~/") else [prefix]
    place = place.removeprefix("~/")
    for part in place.strip("/").split("/"):
        if "*" in part:
            found = [
                f"{each}/{name}" for each in found for name in names_of(image, each) if fnmatch.fnmatchcase(name, part)
            ]
        else:
            found = [f"{each}/{part}" for each in found]
    yield from (each for each in found if image.is_directory(each) or image.is_file(each))
