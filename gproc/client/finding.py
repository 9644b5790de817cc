"""Finds the socket at which the library looks for its master: the one that `gproc e` would use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

from gproc.errors import UsageError
from gproc.trust.config import Files, config_paths, config_text, toml_of
from gproc.trust.meeting import DEFAULT_SOCKET

KEY: Final = "socket"

SECTIONS: Final = ("common", "e", "exec")
"""The sections for `gproc e`: [common] is the weakest.  The other two name the same mode: the last of them counts."""


def default_socket(files: Files | None = None) -> str:
    """The socket that the user's configuration file sets for `gproc e`, else the site's file, else /tmp/g.

    No other key of these files is read.  files: other ones than the site's and the user's.
    Raises: UsageError if a file is not TOML or the value is not a text; TrustError, OSError.
    """
    found = DEFAULT_SOCKET
    for path, owners in config_paths(os.environ) if files is None else files:
        text = config_text(path, owners) if os.path.lexists(path) else None
        if text is not None:
            for socket in _sockets(path, toml_of(path, text)):
                found = socket
    return found


def _sockets(path: str, content: Mapping[str, object]) -> Iterator[str]:
    """The sockets that the sections set, the weaker section first."""
    for name in sorted(content, key=lambda name: name != SECTIONS[0]):
        section = content[name]
        if name in SECTIONS and isinstance(section, dict) and KEY in section:
            value = section[KEY]
            if not isinstance(value, str):
                raise UsageError(f"{path}: [{name}] {KEY} is not a text: a text stands in quotation marks")
            yield value
