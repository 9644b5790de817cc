"""Which directories of a bundle hold what is shown at its own path.  Pure."""

from __future__ import annotations

from collections.abc import Iterator


def outermost(directories: set[str]) -> Iterator[str]:
    """The directories that are in no other one; "/" does not count."""
    last = ""
    # Sorted by component: as strings, "/a-b" would be between "/a" and "/a/b".
    for directory in sorted((each for each in directories if each), key=lambda path: path.split("/")):
        if not last or not directory.startswith(f"{last}/"):
            last = directory
            yield directory
