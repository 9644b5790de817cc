"""Files of the caller that variables of the environment name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

_VALUE_MAX: Final = 300
_RELATIVE: Final = re.compile(r"(?:\./)?[A-Za-z0-9_][\w.+-]*(?:/[A-Za-z0-9_][\w.+-]*)*/?")
_NO_DIRECTORIES: Final = frozenset({
    "PWD", "OLDPWD", "HOME", "_", "USER", "LOGNAME", "USERNAME", "HOSTNAME", "HOST", "SHELL", "TERM", "LANG",
    "LANGUAGE", "TMPDIR", "EDITOR", "PAGER", "VISUAL", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "NAME", "TZ",
    "GROUP", "TMP", "TEMP", "PYTHONHOME", "PYTHONPATH", "PERL5LIB", "RUBYLIB", "GEM_HOME", "GEM_PATH", "R_HOME",
    "R_LIBS",
    "R_LIBS_USER", "R_LIBS_SITE", "NODE_PATH", "LUA_PATH", "LUA_CPATH", "TCLLIBPATH", "GUILE_LOAD_PATH", "CLASSPATH",
    "JAVA_HOME", "PATH", "MANPATH", "GOPATH", "CARGO_HOME", "RUSTUP_HOME",
})  # fmt: skip
"""About the session, or read by rules of their own."""
_OF_PLACES: Final = re.compile(
    r"(?:DIR|DIRS|DIRECTORY|FOLDER|DATA|DATASET|DATABASE|DB|PATH|HOME|ROOT|BASE|PREFIX|CONFIGS?|CONF|CFG|SETTINGS|FILES?"
    r"|INPUTS?|INCLUDE|LIB|SRC|ASSETS|RESOURCES|MODELS?|TEMPLATES|SHARE|STATIC|FIXTURES|PLUGINS|TERMINFO)\Z",
    re.IGNORECASE,
)
"""How variables of directories end.  In MODE=test and SLURM_JOB_NAME=run the value only happens to be one too."""
_OF_SESSION: Final = _NO_DIRECTORIES - {"CLASSPATH"}
_STARTED: Final = frozenset({"BASH_ENV", "ENV"})
_SEPARATORS: Final = re.compile(r"[\s:,;]+")
_PATH_IN_WORD: Final = re.compile(r"(?:--?[A-Za-z][\w-]*=|-[A-Za-z])?((?:\./)?[A-Za-z0-9_][\w+-]*(?:[./]+[\w+-]+)*)")
"""Alone, or behind an option; nothing hidden, and nothing above."""

_WORDS_MAX: Final = 100
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


def directories_named(environ: Mapping[str, str], cwd: str) -> list[str]:
    """Those below the working directory, as `MY_DATA=data` says it, or `X=data/in`."""
    top = f"{cwd.rstrip('/')}/"
    found = []
    for name, value in environ.items():
        is_name = 1 < len(value) < _VALUE_MAX and (value[0] != "/" or value.startswith(top)) and not value.isdigit()
        if not is_name or name in _NO_DIRECTORIES or name.startswith(("LD_", "GPROC_", "LC_", "XDG_")):
            continue
        if "/" not in value and not _OF_PLACES.search(name):
            continue
        relative = value.removeprefix(top)
        if _RELATIVE.fullmatch(relative) and os.path.isdir(top + relative):
            found.append(top + relative)
    return found


def words_in(environ: Mapping[str, str]) -> list[str]:
    """Relative paths in values, alone, in a list, or in the options that a program takes from a variable:
    `MAKEFILES=mk/pre.mk`, `NODE_OPTIONS="--require ./pre.js"`, `RUBYOPT=-r./pre`."""
    found: dict[str, None] = {}
    for name, value in environ.items():
        if len(value) > _VALUE_MAX or name in _OF_SESSION or name.startswith(("LD_", "GPROC_", "LC_", "XDG_")):
            continue
        for word in _SEPARATORS.split(value):
            match = _PATH_IN_WORD.fullmatch(word)
            if match is not None and (name in _STARTED or "." in match[1] or "/" in match[1]):
                found[match[1]] = None
    return list(found)[:_WORDS_MAX]
