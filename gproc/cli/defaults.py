"""The defaults of switches that a site and a user set in files, if there are any.

Every command runs this, so without such a file nothing else is imported: it costs two calls of lstat(2).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gproc.trust.config import Files, config_paths

if TYPE_CHECKING:
    from gproc.cli.modes import Mode


def defaults_of(mode: Mode, files: Files | None = None) -> dict[str, object]:
    """Values by field.  Raises: UsageError, TrustError, OSError; each names the file."""
    present = [each for each in (config_paths(os.environ) if files is None else files) if os.path.lexists(each[0])]
    if not present:
        return {}
    from gproc.cli.settings import settings_in

    return {
        setting.field: setting.value
        for path, owners in present
        for setting in settings_in(path, owners)
        if setting.mode == mode.letters
    }
