"""What the environment says of the caller."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

_COERCED: Final = ("C.UTF-8", "C.utf8", "UTF-8")
"""PEP 538: what Python sets LC_CTYPE to when it starts in the locale C."""


def undo_locale_coercion() -> None:
    """Take back what Python has set at its start: programs that get our environment are to count letters as at home.

    It shows in /proc/self/environ, which has what we were started with.
    """
    if os.environ.get("LC_CTYPE") not in _COERCED:
        return
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return
    begun = [entry.partition(b"=")[2] for entry in entries if entry.startswith(b"LC_CTYPE=")]
    if begun:
        os.environb[b"LC_CTYPE"] = begun[0]
    else:
        del os.environ["LC_CTYPE"]


def user_home(environ: Mapping[str, str]) -> str:
    """$HOME if that is an absolute path, else what passwd(5) says; "" for a user who has none.

    Not os.path.expanduser: without a home it gives "~", which would be made in the working directory.
    """
    home = environ.get("HOME", "")
    if os.path.isabs(home):
        return home
    import pwd

    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return ""
    return home if os.path.isabs(home) else ""


def settle_home() -> str:
    """Have libraries that ask os.path.expanduser find the same home as we do: they would take a relative $HOME, or "".

    Returns the home; "" for a user who has none.
    """
    home = user_home(os.environ)
    if home and os.environ.get("HOME") != home:
        os.environ["HOME"] = home
    return home


def expanded(path: str) -> str:
    """The path, with a home for "~" or "~USER" at its begin if that has one."""
    if path == "~" or path.startswith("~/"):
        home = user_home(os.environ)
        return home + path[1:] if home else path
    return os.path.expanduser(path)


def base_directory(environ: Mapping[str, str], variable: str, below_home: str, otherwise: str) -> str:
    """$variable if that is an absolute path, else that directory of the home: XDG Base Directory Specification.

    otherwise: for a user who has no home.
    """
    chosen = environ.get(variable, "")
    if os.path.isabs(chosen):
        return chosen
    home = user_home(environ)
    return os.path.join(home, below_home) if home else otherwise


def session_directory() -> str:
    """The runtime directory of a user without a home; pam_systemd(8) makes it.  If it is not there, callers that need a
    place say so."""
    return f"/run/user/{os.geteuid()}"
