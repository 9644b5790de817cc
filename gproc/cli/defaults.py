"""The files that set defaults of switches, if there are any.

Every command comes by here, so without such a file nothing else is imported: it costs two calls of lstat(2).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from gproc.errors import TrustError
from gproc.trust.home import home_path

if TYPE_CHECKING:
    from gproc.cli.modes import Mode

SITE_PATH: Final = "/etc/gproc/config.toml"
USER_NAME: Final = "config.toml"

Files = Sequence[tuple[str, frozenset[int]]]
"""Paths, the weaker first, and the uids that may own each."""


def paths(environ: Mapping[str, str]) -> Files:
    """The site's file and the user's, whether they are there or not."""
    site = (SITE_PATH, frozenset({0}))
    try:
        return (site, (os.path.join(home_path(environ), USER_NAME), frozenset({0, os.geteuid()})))
    except TrustError:  # this user has no home
        return (site,)


def defaults_of(mode: Mode, files: Files | None = None) -> dict[str, object]:
    """Values by field.  Raises: UsageError, TrustError, OSError; each names the file."""
    present = [each for each in (paths(os.environ) if files is None else files) if os.path.lexists(each[0])]
    if not present:
        return {}
    from gproc.cli.settings import settings_in

    return {
        setting.field: setting.value
        for path, owners in present
        for setting in settings_in(path, owners)
        if setting.mode == mode.letters
    }
