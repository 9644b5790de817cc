"""Files of the caller that variables of the environment name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

_NO_FILES: Final = ("PWD", "OLDPWD", "HOME", "_", "XAUTHORITY", "ICEAUTHORITY", "HISTFILE", "MAIL", "BASH_ENV", "ENV")


def files_named(environ: Mapping[str, str], cwd: str) -> list[str]:
    """The files that variables name below the working directory or the home, unless they are hidden there, as secrets
    mostly are.

    Directories are not meant, as of XDG_CACHE_HOME, and no programs of the home: CONDA_EXE is about the caller's shell.
    """
    home = environ.get("HOME", "")
    tops = [f"{each.rstrip('/')}/" for each in (cwd, home) if each not in ("", "/")]
    found = []
    for name, value in environ.items():
        top = next(filter(value.startswith, tops), "")
        is_file = name not in _NO_FILES and not name.startswith(("LD_", "GPROC_")) and "/." not in value[len(top) - 1 :]
        if top and is_file and os.path.isfile(value) and (top == tops[0] or not os.access(value, os.X_OK)):
            found.append(value)
    return found
