"""What Python's site adds to sys.path: the lines of .pth files, and the sources of editable installs.

Sources: the documentation of Python's module site; PEP 660 and setuptools' `editable_wheel`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from gproc.bundle.image import Image

OMITTED: Final = re.compile(r"/(\.git|\.hg|\.svn|\.tox|\.venv|venv|__pycache__|node_modules|\.mypy_cache)$")
_TEXT_BYTES_MAX: Final = 1 << 16
_FINDER: Final = re.compile(r"import (__editable__\w+)")
_MAPPING: Final = re.compile(rb"^MAPPING[^=\n]*= (\{[^}\n]*\})", re.MULTILINE)


def paths_of(image: Image, site: str) -> Iterator[str]:
    """The directories that the .pth files of a site directory add, as far as they exist."""
    for name in image.names(site):
        if not name.endswith(".pth"):
            continue
        for line in os.fsdecode(image.content(f"{site}/{name}", _TEXT_BYTES_MAX) or b"").splitlines():
            if match := _FINDER.match(line):
                yield from mapped(image, f"{site}/{match[1]}.py")
            elif line.strip() and not line.startswith(("#", "import ", "import\t")):
                path = os.path.normpath(os.path.join(site, line.strip()))
                if image.is_directory(path) and path.count("/") > 1:
                    yield path


def mapped(image: Image, finder: str) -> Iterator[str]:
    """The directories in the finder of an editable install."""
    match = _MAPPING.search(image.content(finder, _TEXT_BYTES_MAX) or b"")
    if match is None:
        return
    import ast

    try:
        mapping = ast.literal_eval(os.fsdecode(match[1]))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # as ast.literal_eval documents them
        return
    for path in mapping.values() if isinstance(mapping, dict) else ():
        if isinstance(path, str) and path.startswith("/") and image.is_directory(path):
            yield path
