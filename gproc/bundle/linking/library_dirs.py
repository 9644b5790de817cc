"""The directories of a bundle's libraries, in an order in which a linker finds each library in its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from gproc.bundle.image import Image
from gproc.bundle.linking import search
from gproc.bundle.linking.closure import Object


def directories(
    image: Image, bundled: Iterable[str], objects: Mapping[str, Object], loaders: Collection[str]
) -> tuple[str, ...]:
    """bundled: all paths.  objects: by path, those of all closures."""
    holders: dict[str, set[str]] = {}
    for path in bundled:
        directory, _, name = path.rpartition("/")
        holders.setdefault(name, set()).add(directory)
    constraints = []
    for path, each in objects.items():
        directory, _, name = (image.parent(path) or path).rpartition("/")
        if each.loaded_by is None or path in loaders or f"/{search.HWCAPS}/" in path or "/" in each.name:
            continue
        constraints.append((directory, frozenset(holders[name])))
    found = {directory for directory, _ in constraints}
    return search.ordered([(directory, others & found) for directory, others in constraints])
