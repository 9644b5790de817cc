"""The search rules of the dynamic linkers: which directories, in which order.  Pure.

glibc: ld.so(8), "DESCRIPTION" and "Dynamic string tokens"; elf/dl-load.c, _dl_map_object.
musl: ldso/dynlink.c, load_library and fixup_rpath.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import msgspec

HWCAPS: Final = "glibc-hwcaps"
"""The subdirectory of a searched directory that holds builds for certain processors: ld.so(8)."""

_PLATFORMS: Final = {3: ("i686", "i586"), 62: ("x86_64", "haswell", "xeon_phi"), 183: ("aarch64",), 243: ("riscv64",)}
"""AT_PLATFORM by e_machine.  On x86-64, glibc before 2.37 uses the name of a processor family.  The node's processor
decides, so all of them are tried."""

_TOKEN: Final = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


class Holder(Protocol):
    """A loaded object, with everything that its search path is made from."""

    @property
    def origin(self) -> str: ...
    @property
    def rpath(self) -> str | None: ...
    @property
    def runpath(self) -> str | None: ...
    @property
    def loaded_by(self) -> Holder | None: ...


class Tokens(msgspec.Struct, frozen=True):
    """The values of $LIB and $PLATFORM.  lib: None if the linker does not know this token."""

    lib: str | None
    platforms: tuple[str, ...]


def tokens_of(machine: int, default_dirs: Sequence[str]) -> Tokens:
    """The tokens of glibc.  $LIB is the first of its default directories, because both come from its configuration."""
    return Tokens(default_dirs[0].strip("/") if default_dirs else "lib", _PLATFORMS.get(machine, ()))


MUSL_TOKENS: Final = Tokens(None, ())


def expand(element: str, origin: str, tokens: Tokens) -> tuple[str, ...]:
    """The element with its tokens replaced: one path, or one for each platform; none if a token has no value."""
    wanted = {braced or bare for braced, bare in _TOKEN.findall(element)}
    if ("LIB" in wanted and tokens.lib is None) or ("PLATFORM" in wanted and not tokens.platforms):
        return ()

    def put(platform: str) -> str:
        values = {"ORIGIN": origin, "LIB": tokens.lib or "", "PLATFORM": platform}
        return _TOKEN.sub(lambda token: values[token[1] or token[2]], element)

    return tuple(put(platform) for platform in tokens.platforms) if "PLATFORM" in wanted else (put(""),)


def expand_path(path: str, origin: str, tokens: Tokens, separators: str = ":") -> Iterator[str]:
    """The directories of a search path; "" among them is the working directory.  An empty path has none."""
    if path:
        for element in re.split(f"[{separators}]", path):
            yield from expand(element, origin, tokens)


def chain_of(holder: Holder | None) -> Iterator[Holder]:
    """The object, the object that loaded it, and so on up to the program."""
    while holder is not None:
        yield holder
        holder = holder.loaded_by


def glibc_order(holder: Holder, program: Holder, library_path: Sequence[str], tokens: Tokens) -> Iterator[str]:
    """The directories before ld.so.cache and the default ones.

    An RPATH counts for all objects that are loaded below its own, unless the object that needs a library has a RUNPATH.
    A RUNPATH counts only for its own object, and after LD_LIBRARY_PATH.
    """
    if holder.runpath is None:
        chain = list(chain_of(holder))
        for each in chain if program in chain else [*chain, program]:
            if each.rpath is not None and each.runpath is None:
                yield from expand_path(each.rpath, each.origin, tokens)
    yield from library_path
    if holder.runpath is not None:
        yield from expand_path(holder.runpath, holder.origin, tokens)


def musl_order(holder: Holder, library_path: Sequence[str]) -> Iterator[str]:
    """The directories before the system's.  musl treats RPATH and RUNPATH alike, and inherits both."""
    yield from library_path
    for each in chain_of(holder):
        path = each.runpath if each.runpath is not None else each.rpath
        if path is not None:
            yield from expand_path(path, each.origin, MUSL_TOKENS)


_MUSL_OWN: Final = ("c", "pthread", "rt", "m", "dl", "util", "xnet")


def is_musl_itself(name: str) -> bool:
    """Whether musl's loader is the library itself, no matter which files exist (dynlink.c: `reserved`)."""
    return name.startswith("lib") and name[3:].partition(".")[0] in _MUSL_OWN and "." in name


def is_library_path_safe(name: str) -> bool:
    """Whether to look for a needed name: a plain name, a path from $ORIGIN, or another path without "..".

    A relative path begins at the working directory, as the linker has it: that is what a library without soname gets
    that was linked by its path.
    """
    if "/" not in name:
        return name not in ("", ".", "..")
    if name.startswith(("$ORIGIN/", "${ORIGIN}/")):
        return True
    return "$" not in name and all(part not in ("", ".", "..") for part in name.removeprefix("/").split("/"))


def ordered(constraints: Sequence[tuple[str, frozenset[str]]]) -> tuple[str, ...]:
    """The directories in an order in which each library is found in its own directory.

    constraints: for each library, in the order of loading, its directory and the other ones that hold a file of its
    name.  If no order fits all (of two directories, each must be first for one library), the first found comes first.
    """
    after: dict[str, set[str]] = {}
    for directory, others in constraints:
        after.setdefault(directory, set())
        for other in others - {directory}:
            after.setdefault(other, set()).add(directory)
    left = list(dict.fromkeys(directory for directory, _ in constraints))
    result: list[str] = []
    while left:
        free = next((each for each in left if not after[each] & set(left) - {each}), left[0])
        left.remove(free)
        result.append(free)
    return tuple(result)
