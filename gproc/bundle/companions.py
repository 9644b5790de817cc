"""What libraries load or read by name for all programs that use them: OpenSSL's providers, certificates, a terminal's
description, Tcl's own scripts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

from gproc.bundle.image import Image
from gproc.bundle.linking.closure import Object
from gproc.bundle.surroundings import Surroundings
from gproc.bundle.texts.beside import modules_in

_TCL: Final = re.compile(r"lib(t(?:cl|k)8\.\d+)t?\.so(\.\d+)*")
_TERMINFO: Final = ("/etc/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/usr/share/terminfo")
"""Where ncurses is built to look, on Debian and Fedora: terminfo(5)."""


def companions_of(image: Image, surroundings: Surroundings, closure: Sequence[Object]) -> Iterator[str]:
    """Paths of files that go along because of a library in the closure."""
    for each in closure:
        if each.elf.soname.startswith("libcrypto.so."):
            # provider(7ossl): in the directory that libcrypto was built for, beside it.
            directory = f"{os.path.dirname(each.real)}/ossl-modules"
            yield from (f"{directory}/{name}" for name in image.names(directory) if name.endswith(".so"))
        if each.elf.soname.startswith(("libtinfo.so.", "libncurses.so.", "libncursesw.so.")):
            yield from _terminal(image, surroundings.variable("TERM") or "")
        if each.elf.soname.startswith("libopen-pal.so."):
            for directory in ("openmpi/lib/openmpi3", "openmpi"):  # Debian's and a build of one's own
                yield from (path for path, _ in modules_in(image, f"{os.path.dirname(each.real)}/{directory}"))
        if (tcl := _TCL.fullmatch(each.elf.soname)) is not None:
            # library(n): where Debian, Fedora and a build of one's own have it.
            prefix = os.path.dirname(os.path.dirname(each.real))
            for directory in (f"/usr/share/tcltk/{tcl[1]}", f"/usr/share/{tcl[1]}", f"{prefix}/lib/{tcl[1]}"):
                yield from (path for path, _ in modules_in(image, directory))


_CERTIFICATES: Final = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem", "/usr/lib/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf",
    "/usr/lib/ssl/openssl.cnf",
)  # fmt: skip
"""Where Debian, Fedora, SUSE and Alpine have the authorities that they trust, and the settings of OpenSSL."""


_FONTS: Final = "/etc/fonts/fonts.conf"
_FONTS_MORE: Final = "/etc/fonts/conf.d"
"""fonts-conf(5): without them each program that draws text complains."""


def lent_by(image: Image, closure: Sequence[Object]) -> Iterator[str]:
    """Files that libraries read if a node has them, and of which it is sent the caller's if it has none."""
    if any(each.elf.soname.startswith(("libssl.so.", "libgnutls.so.", "libcrypto.so.")) for each in closure):
        yield from (path for path in _CERTIFICATES if image.walk(path) is not None)
    if any(each.elf.soname.startswith("libfontconfig.so.") for each in closure):
        named = [_FONTS, *(f"{_FONTS_MORE}/{name}" for name in image.names(_FONTS_MORE) if name.endswith(".conf"))]
        yield from (path for path in named if image.is_file(path))


def _terminal(image: Image, name: str) -> Iterator[str]:
    if not name or "/" in name or name.startswith("."):
        return
    for base in _TERMINFO:
        for path in (f"{base}/{name[0]}/{name}", f"{base}/{ord(name[0]):x}/{name}"):
            if image.walk(path) is not None:
                yield path
                return
