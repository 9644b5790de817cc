"""One file with the code of all modules, as `importing` reads it: a length, an index, and code after code.  A rule.

The length is of the index, in four bytes, little-endian.  The index is a value of Python's `marshal`: for each module
where its code starts, counted from the end of the index, its size, and whether it is a package; and for each extension
module its file, which stays one.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Mapping
from typing import Final

from gproc.runtime.importing import LENGTH_BYTES

_PACKAGE: Final = "/__init__"
_TOP: Final = "lib-dynload"
"""The directory of Python's own extension modules."""


def module_file(codes: Mapping[str, bytes], extensions: Iterable[str]) -> bytes:
    """codes: by the place of each module without a suffix.  extensions: places of files."""
    index: dict[str, tuple[int, int, bool]] = {}
    start = 0
    for place, code in codes.items():
        index[place.removesuffix(_PACKAGE).replace("/", ".")] = (start, len(code), place.endswith(_PACKAGE))
        start += len(code)
    packed = marshal.dumps((index, {_extension_name(place): place for place in extensions}))
    return b"".join((len(packed).to_bytes(LENGTH_BYTES, "little"), packed, *codes.values()))


def _extension_name(place: str) -> str:
    directory, _, file = place.rpartition("/")
    name = file.partition(".")[0]
    return name if directory == _TOP else f"{directory.replace('/', '.')}.{name}"
