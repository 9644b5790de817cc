"""Variables by which a plain job finds what was sent, because it is not at its own path.  Pure.

PATH leads to programs.  Data that a library finds by a path that was compiled in may be elsewhere if a variable says
so: time zones, locales, terminals.  Such a variable is set only if the caller has not set it and the node lacks what
was sent.  So it hides nothing of the node's that the job would have used.

Sources: tzset(3), PEP 615, locale(7), terminfo(5), SSL_CTX_set_default_verify_paths(3ssl), config(5ssl),
provider(7ssl), iconv(1), libmagic(3), tclvars(3tcl), fonts.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from gproc.content.manifest import Directory
from gproc.root.code_layout import CodeLayout
from gproc.root.facts import NodeFacts
from gproc.root.where import is_distributions

OWN: Final = b"/.gproc"
"""What gproc adds to a plain job's root."""

STARTERS: Final = OWN + b"/bin"
"""The directory below the root that holds the starters (`gproc.root.starters`)."""

LOCALES: Final = OWN + b"/locale"
"""That of the locales that were in an archive (`gproc.root.locale_archive`)."""

_DEFAULT_PATH: Final = b"/usr/local/bin:/usr/bin:/bin"
"""The directories in which shells look if there is no PATH."""


def search_path(layout: CodeLayout, root: bytes, started: frozenset[bytes], callers: bytes) -> bytes:
    """The PATH of a plain job: before each directory of the caller's, the starters of what was sent from there.

    started: the bundle's directories that have starters.  Only programs that the command and its scripts run are sent,
    and of these only those have a starter that the node does not have identically.  So a job gets the caller's version
    of them, as in a view, and all others are the node's.
    """
    found: list[bytes] = []
    for directory in (callers or _DEFAULT_PATH).split(b":"):
        real = layout.directory(directory) if directory.startswith(b"/") else None
        if real in started:
            found.append(root + STARTERS + real)
        found.append(directory)
    return b":".join(dict.fromkeys(found))


class _Redirection(msgspec.Struct, frozen=True):
    """A variable that says where data is.

    what: matches the paths of the files that it is about; the group "value" is what the variable must name.
    after: what follows the path in the variable, if that is a list: the node's own places.
    made: where that is below the job's root, if the bundle does not have it so.
    """

    variable: bytes
    what: re.Pattern[bytes]
    after: bytes = b""
    made: bytes = b""


def _row(variable: str, what: str, after: str = "", made: bytes = b"") -> _Redirection:
    return _Redirection(variable.encode(), re.compile(what.encode()), after.encode(), made)


_REDIRECTIONS: Final = (
    _row("TZDIR", r"(?P<value>/usr/share/zoneinfo)/.+"),
    _row("PYTHONTZPATH", r"(?P<value>/usr/share/zoneinfo)/.+", ":/usr/share/zoneinfo"),
    _row("LOCPATH", r"(?P<value>/usr/lib/locale)/[^/]+/.+", ":/usr/lib/locale"),
    _row("LOCPATH", r"(?P<value>/usr/lib/locale)/locale-archive", ":/usr/lib/locale", LOCALES),
    _row("TERMINFO_DIRS", r"(?P<value>(/etc|/lib|/usr/lib|/usr/share)/terminfo)/.+", ":"),
    _row("SSL_CERT_FILE", r"(?P<value>/etc/ssl/certs/ca-certificates\.crt|/etc/pki/tls/certs/ca-bundle\.crt)"),
    _row("OPENSSL_CONF", r"(?P<value>(/etc/ssl|/etc/pki/tls|/usr/lib/ssl)/openssl\.cnf)"),
    _row("OPENSSL_MODULES", r"(?P<value>.*/ossl-modules)/[^/]+\.so"),
    _row("GCONV_PATH", r"(?P<value>.*/gconv)/gconv-modules.*"),
    _row("MAGIC", r"(?P<value>/usr/lib/file/magic\.mgc|/usr/share/(misc|file)/magic\.mgc)"),
    _row("TCL_LIBRARY", r"(?P<value>/usr/(share|lib|lib64)/(tcltk/)?tcl[\d.]+)/init\.tcl"),
    _row("TK_LIBRARY", r"(?P<value>/usr/(share|lib|lib64)/(tcltk/)?tk[\d.]+)/tk\.tcl"),
    _row("FONTCONFIG_FILE", r"(?P<value>/etc/fonts/fonts\.conf)"),
)


def variables(
    layout: CodeLayout, facts: NodeFacts, root: bytes, callers: Mapping[bytes, bytes]
) -> tuple[tuple[bytes, bytes], ...]:
    """What to set, by name.  callers: the caller's own.  One that names a file of the caller's names it where it is."""
    lacking = [
        entry.path
        for entry in layout.manifest.entries
        if entry.path in facts.absent and not isinstance(entry, Directory)
    ]
    found: dict[bytes, bytes] = {}
    for row in _REDIRECTIONS:
        match = next(filter(None, map(row.what.fullmatch, lacking)), None)
        if match is None or row.variable in callers:
            continue
        leads = layout.chain(match["value"])[-1:]
        real = row.made or (leads[0] if leads else layout.directory(match["value"]))
        if real is not None:
            before = found.get(row.variable)
            found[row.variable] = root + real + (row.after if before is None else b":" + before)
    of_caller = frozenset(path for path in lacking if not is_distributions(path))
    for name, value in callers.items():
        if value in of_caller and (leads := layout.chain(value)):
            found[name] = root + leads[-1]
    return tuple(found.items())
