"""Files that differ by their numbers alone, as those in which a loop keeps its outputs: `prog $i > out.$i`."""

from __future__ import annotations

import os
import re
from typing import Final

from gproc import descriptors

_NUMBER: Final = re.compile(r"\d+")


def of_outputs() -> tuple[str, ...]:
    """Patterns of the names that our standard output and error are one of, for those that are numbered files."""
    names = {os.path.basename(descriptors.name_of(each)) for each in descriptors.OUTPUTS}
    return tuple(sorted(_NUMBER.sub(r"\\d+", re.escape(name)) for name in names if _NUMBER.search(name)))
