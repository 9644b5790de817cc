"""Makes a View of a bundle and a node's facts.  Pure.  Only this module decides what a job sees (docs/fidelity.md).

With namespaces, binRoot is an overlay: below, the bundle as the store laid it out, nothing copied; on top, a
tmpfs of the job's own.  The node's system directories that the bundle has code for become unions, bundle
first, node below.  Directories that the node has identically are not covered.  Of two glibcs the newer one is used as a
set: an old program runs on a newer glibc, not the other way round.

A directory that users write to (/tmp, a home) is never made a union, because unions are read-only.
What the bundle has there is found under binRoot.  Libraries there, and those that only the caller's -L or
ld.so.conf named, are found by LD_LIBRARY_PATH.  If the node has such a directory itself, in which an
absolute DT_RPATH would find another version first, or if bundle and node keep their glibc at different paths,
the program is started through the bundle's own loader.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gproc.content.paths import within
from gproc.errors import LaunchError
from gproc.root import redirected, where
from gproc.root.asked import Asked
from gproc.root.code_layout import CodeLayout, joined
from gproc.root.facts import NodeDirectory, NodeFacts
from gproc.root.view import CopyTree, InPlace, MakeDirectory, Operation, Overlay, Proc, ShowAt, Through, Tmpfs, View
from gproc.shown import shown as shown_path

_ARGV0_SINCE: Final = (2, 33)
"""The glibc whose loader first knew --argv0; musl's has known it since 1.1.23."""

_UPPER: Final = b"/upper"
_WORK: Final = b"/work"
_PROC: Final = Proc(b"/proc")


class LaidOut(msgspec.Struct, frozen=True):
    """A bundle in the node's store.

    at: a directory with all entries at their own paths.
    without_glibc: the same without the glibc set (`layers.without_glibc`); only there if `needs_without_glibc`.
    interpreter: of a script: the interpreter's path in the bundle and its arguments, or None (`script.interpreter`).
    for_plain: for a plain job: the same as `at` with starters and locales (`layers.for_plain`); b"" if it needs none.
    started: the bundle's directories that have starters there.
    """

    layout: CodeLayout
    at: bytes
    without_glibc: bytes = b""
    interpreter: tuple[bytes, ...] | None = ()
    for_plain: bytes = b""
    started: frozenset[bytes] = frozenset()


class Union(msgspec.Struct, frozen=True):
    """A directory of the node that is to be covered.

    sources: the bundle's directories that go over it.  places: what becomes whole by that, as the bundle's names.
    """

    directory: NodeDirectory
    sources: tuple[bytes, ...]
    places: tuple[bytes, ...]


def plan(bundle: LaidOut, bin_root: bytes, asked: Asked, facts: NodeFacts, job_name: bytes) -> View:
    """The view of a job that came with a bundle.

    job_name: on a plain node, the name of the job's directory below bin_root; one path component.

    Raises: LaunchError if bin_root is inside the store or the store inside it, or if a plain node cannot run this.
    """
    if within(bundle.at, bin_root) or within(bin_root, bundle.at):
        raise LaunchError(f"binRoot {bin_root!r} and the store's {bundle.at!r} lie in one another: move one of them")
    if not facts.namespaces:
        _refuse_what_needs_its_place(bundle.layout, facts)
        return _plain(bundle, bin_root + b"/" + job_name, asked, facts)
    cwd = where.working_directory(asked, bin_root, facts)
    unions = unions_for(bundle, facts)
    shown = where.shown(bundle.layout, facts, cwd, _places_to_show(bundle, facts, unions), _made_below(unions))
    covered = shown.places.union(*(union.places for union in unions))
    mounts = (
        *where.top(bundle.layout, facts, cwd, bin_root),
        *(_mounted(union, bundle, facts) for union in unions),
        *_private_root(bundle.at, bin_root, facts),
        *(() if cwd.is_nodes else (MakeDirectory(bin_root, asked.cwd),)),
        *(_in_its_place(at, bin_root, whole, bundle.layout, cwd.path) for at, whole in shown.directories),
        *_shown(bin_root, asked.shown_at),
        _PROC,
    )
    root = asked.shown_at or bin_root
    start = asked.cwd if cwd.in_place else root + asked.cwd
    if not _is_whole(bundle, facts, covered):
        program, through = _from_root(bundle, root)
        return View("namespaces", mounts, program, start, through, moved=not cwd.in_place or asked.own_cwd)
    program = bundle.layout.manifest.program
    if _in_place(program, bundle.layout, facts, covered):
        program = _as_typed(bundle.layout, facts, covered, asked, cwd.in_place)
        _refuse_what_would_be_hidden(program, asked.shown_at)
    else:
        program = root + program
    searched = tuple(
        directory if directory in covered or directory not in _wanting(bundle.layout, facts) else root + directory
        for directory in _unsought(bundle, facts, covered)
    )
    moved = not cwd.in_place or asked.own_cwd
    return View("namespaces", mounts, program, start, library_path=searched, moved=moved)


def _plain(bundle: LaidOut, root: bytes, asked: Asked, facts: NodeFacts) -> View:
    program, through = _from_root(bundle, root)
    start = asked.cwd if asked.own_cwd else root + asked.cwd
    variables = redirected.variables(bundle.layout, facts, root, dict(asked.variables))
    if bundle.started:
        path = redirected.search_path(bundle.layout, root, bundle.started, asked.search_path)
        variables = ((b"PATH", path), *variables)
    source = bundle.for_plain or bundle.at
    return View("plain", (), program, start, through, root, source, moved=True, variables=variables)


def plan_local(program: bytes, bin_root: bytes, asked: Asked, facts: NodeFacts, job_name: bytes) -> View:
    """The view of a job that runs the node's own program (`-localbin`): a private, empty binRoot."""
    if not facts.namespaces:
        root = bin_root + b"/" + job_name
        start = asked.cwd if asked.own_cwd else root + asked.cwd
        return View("plain", (), program, start, root=root, moved=True)
    _refuse_what_would_be_hidden(program, asked.shown_at)
    cwd = where.working_directory(asked, bin_root, facts)
    shown = where.shown(None, facts, cwd, (), ())
    mounts: tuple[Operation, ...] = (
        *where.top(None, facts, cwd, bin_root),
        Tmpfs(bin_root),
        *(() if cwd.is_nodes else (MakeDirectory(bin_root, asked.cwd),)),
        *(InPlace(at, bin_root, whole) for at, whole in shown.directories),
        *_shown(bin_root, asked.shown_at),
        _PROC,
    )
    start = asked.cwd if cwd.in_place else (asked.shown_at or bin_root) + asked.cwd
    return View("namespaces", mounts, program, start, moved=not cwd.in_place or asked.own_cwd)


def _in_its_place(at: bytes, bin_root: bytes, whole: bool, layout: CodeLayout, cwd: bytes) -> InPlace:
    inside = at + b"/"
    yields = () if whole else tuple(each for each in layout.manifest.yielding if each.startswith(inside))
    stays = bool(yields) and within(cwd, at)
    all_yield = bool(yields) and not stays and set(yields) == layout.files_in(inside)
    return InPlace(at, bin_root, whole, tuple(each.removeprefix(inside) for each in yields), stays, all_yield)


def _shown(bin_root: bytes, shown_at: bytes) -> tuple[ShowAt, ...]:
    return (ShowAt(bin_root, shown_at),) if shown_at and shown_at != bin_root else ()


def _refuse_what_would_be_hidden(program: bytes, shown_at: bytes) -> None:
    """Raises: LaunchError."""
    if shown_at and within(program, shown_at):
        raise LaunchError(
            f"binRoot {shown_path(shown_at)} would hide {shown_path(program)}, the program, with all else that the "
            "node has there: choose a directory of its own"
        )


def _refuse_what_needs_its_place(layout: CodeLayout, facts: NodeFacts) -> None:
    """On a plain node the program and its libraries run from below binRoot; what is opened by its path does not."""
    fixed, yielding = layout.manifest.fixed, frozenset(layout.manifest.yielding)
    lacking = [
        path
        for path, _ in layout.code
        if (path in facts.absent if path in yielding else path not in facts.identical)
        and any(within(path, each) for each in fixed)
    ]
    if lacking:
        raise LaunchError(
            f"{min(lacking).decode(errors='replace')} is opened by its path, and this node has no private "
            "views, in which it would be there: gproc i shows why; -localbin runs the node's own program"
        )


def needs_without_glibc(layout: CodeLayout, facts: NodeFacts) -> bool:
    """Whether a plan for these reads `LaidOut.without_glibc`."""
    if not facts.overlay or not _node_glibc_wins(layout, facts):
        return False
    wanting = _wanting(layout, facts)
    return any(
        _over(facts.directories[place], source) in layout.glibc_directories
        for place, source in layout.places.items()
        if source in wanting
    )


def unions_for(bundle: LaidOut, facts: NodeFacts) -> tuple[Union, ...]:
    """The directories that are to be covered, each after its ancestors."""
    layout = bundle.layout
    if not facts.overlay or not _same_layout(layout, facts):
        return ()
    wanting = _wanting(layout, facts)
    chosen: dict[bytes, Union] = {}
    for place, source in sorted(layout.places.items(), key=lambda item: (facts.directories[item[0]].path, item[0])):
        directory = facts.directories[place]
        if source not in wanting or not directory.system or directory.path == b"/":
            continue
        if within(bundle.at, directory.path):
            # overlayfs refuses layers that lie in one another (ELOOP).
            continue
        source = _over(directory, source)
        if not source:
            continue
        known = chosen.get(directory.path)
        if known is None:
            chosen[directory.path] = Union(directory, (source,), (place,))
        else:
            sources = tuple(dict.fromkeys((*known.sources, source)))
            fuller = max(known.directory, directory, key=lambda found: found.missing)
            chosen[directory.path] = Union(fuller, sources, (*known.places, place))
    return tuple(chosen[path] for path in sorted(chosen))


def _places_to_show(bundle: LaidOut, facts: NodeFacts, unions: tuple[Union, ...]) -> tuple[bytes, ...]:
    """The code directories that no union covers, by their own names."""
    layout = bundle.layout
    yielding = dict.fromkeys(path.rpartition(b"/")[0] for path in layout.manifest.yielding if path in facts.absent)
    united = {place for union in unions for place in union.places}
    wanting = _wanting(layout, facts)
    if not _same_layout(layout, facts):
        # The directories of its glibc stay the node's: the program starts through its own loader.
        wanting = wanting.difference(layout.glibc_directories)
    own = (
        place
        for place, source in layout.places.items()
        if place == source
        and source in wanting
        and place not in united
        and (
            where.top_of(place) in facts.tops
            or not where.is_distributions(place)
            or not facts.directories[place].system
        )
    )
    return (*own, *(directory for directory in yielding if directory))


def _made_below(unions: tuple[Union, ...]) -> tuple[bytes, ...]:
    """The directories that the node lacks and a union shows, read-only: the job must be able to write to them.

    Not those of the distribution, in which programs do not write.
    """
    found: dict[bytes, None] = {}
    for union in unions:
        depth = union.directory.path.count(b"/") + 1
        for place in union.places:
            if union.directory.missing and within(place, union.directory.path) and not where.is_distributions(place):
                found[b"/".join(place.split(b"/")[: depth + 1])] = None
    return tuple(path for path in found if path not in {union.directory.path for union in unions})


def _over(directory: NodeDirectory, source: bytes) -> bytes:
    """What goes over a directory: over the ancestor of a missing one, what the bundle has as its counterpart."""
    return source.rsplit(b"/", directory.missing)[0]


def _wanting(layout: CodeLayout, facts: NodeFacts) -> frozenset[bytes]:
    """The code directories with something that the node does not have identically."""
    ours = layout.glibc if _node_glibc_wins(layout, facts) else frozenset()
    has = facts.identical.union(ours, facts.held)
    return frozenset(directory for path, directory in layout.code if path not in has)


def _node_glibc_wins(layout: CodeLayout, facts: NodeFacts) -> bool:
    return bool(layout.glibc) and facts.has_libc and facts.glibc_version >= layout.manifest.glibc_version


def _same_layout(layout: CodeLayout, facts: NodeFacts) -> bool:
    """Whether the bundle's glibc and the node's can take each other's place.

    A distribution's loader looks in its own directories first.  If the node has our loader's path but no libc
    at ours (/lib64 on one, /lib/x86_64-linux-gnu on the other), one's loader would take the other's libc.
    """
    return not layout.glibc or facts.has_libc or not facts.has_loader


def _mounted(union: Union, bundle: LaidOut, facts: NodeFacts) -> Overlay:
    # Without a glibc both trees are the same; not to make the second saves half of the 0.6 ms of a first view.
    without = bundle.layout.glibc_directories if _node_glibc_wins(bundle.layout, facts) else frozenset()
    layers = ((bundle.without_glibc if source in without else bundle.at) + source for source in union.sources)
    directory = union.directory
    own = set(directory.children)
    inside = directory.path + b"/"
    held = [path.removeprefix(inside) for path in facts.held if path.startswith(inside)]
    kept = [point for point in sorted({*directory.mounts, *held}) if point.partition(b"/")[0] not in own]
    outermost = [point for point in kept if not any(point != other and within(point, other) for other in kept)]
    return Overlay((*layers, directory.path), b"", b"", directory.path, (*directory.children, *outermost))


def _private_root(at: bytes, bin_root: bytes, facts: NodeFacts) -> tuple[Operation, ...]:
    """A tmpfs and, if there are overlays, on top of it the bundle with that tmpfs to write to."""
    if not facts.overlay:
        return (Tmpfs(bin_root), CopyTree(at, bin_root))
    upper, work = bin_root + _UPPER, bin_root + _WORK
    return (
        Tmpfs(bin_root),
        MakeDirectory(bin_root, _UPPER),
        MakeDirectory(bin_root, _WORK),
        Overlay((at,), upper, work, bin_root),
    )


def _is_whole(bundle: LaidOut, facts: NodeFacts, covered: frozenset[bytes]) -> bool:
    """Whether loader, libraries and interpreter are all found at their own paths."""
    layout, manifest = bundle.layout, bundle.layout.manifest
    if not manifest.loader and not bundle.interpreter:
        return True
    if not facts.overlay or not _same_layout(layout, facts):
        return False
    if any(not facts.directories[directory].missing for directory in _uncovered(bundle, facts, covered)):
        return False
    needed = (manifest.loader, *(bundle.interpreter or ())[:1])
    return all(_in_place(path, layout, facts, covered) for path in needed if path)


def _uncovered(bundle: LaidOut, facts: NodeFacts, covered: frozenset[bytes]) -> frozenset[bytes]:
    """Library directories whose content is only found under binRoot."""
    return _wanting(bundle.layout, facts).difference(covered).intersection(bundle.layout.manifest.library_dirs)


def _unsought(bundle: LaidOut, facts: NodeFacts, covered: frozenset[bytes]) -> tuple[bytes, ...]:
    """Library directories that the loader has to be told of, in its own order."""
    manifest = bundle.layout.manifest
    told = _uncovered(bundle, facts, covered).union(manifest.configured_dirs)
    return tuple(directory for directory in manifest.library_dirs if directory in told)


def _in_place(path: bytes, layout: CodeLayout, facts: NodeFacts, covered: frozenset[bytes]) -> bool:
    """Whether the bundle's file of this name is found there, or the node's glibc in its place."""
    ours = layout.glibc if _node_glibc_wins(layout, facts) else frozenset()
    met = layout.chain(path)
    parent = path.rpartition(b"/")[0]
    named = facts.directories.get(parent)
    if named is not None and named.missing and parent not in covered and where.top_of(parent) not in facts.tops:
        # A node without the link /lib64, into whose / nothing was put.
        return False
    return bool(met) and all(
        step in facts.identical
        or step in ours
        or layout.directory_of(step) in covered
        or step in facts.links
        or (step.count(b"/") == 1 and (step in facts.tops or step not in layout.top_files))
        for step in met
    )


def _as_typed(
    layout: CodeLayout, facts: NodeFacts, covered: frozenset[bytes], asked: Asked, cwd_in_place: bool
) -> bytes:
    """The program's path as a shell at home would execute it: a script finds that path in `$0`."""
    program, name = layout.manifest.program, asked.name
    leads = layout.chain(program)[-1:]

    def is_it(path: bytes) -> bool:
        return layout.chain(path)[-1:] == leads and _in_place(path, layout, facts, covered)

    if b"/" in name:
        if name.startswith(b"/") or cwd_in_place:
            return name if is_it(joined(asked.cwd, name)) else program
        return program
    for directory in asked.search_path.split(b":"):
        path = directory.rstrip(b"/") + b"/" + name
        if directory.startswith(b"/") and is_it(joined(b"", path)):
            return path
    return program


def _from_root(bundle: LaidOut, root: bytes) -> tuple[bytes, Through | None]:
    """How the program starts if only `root` holds the bundle: what is executed, and for which program."""
    manifest = bundle.layout.manifest
    if bundle.interpreter is None:
        # The kernel finds it, or says that it is not there: a loader would take the script for an ELF file.
        return root + manifest.program, None
    script = (root + manifest.program,) if bundle.interpreter else ()
    program = root + (bundle.interpreter[0] if script else manifest.program)
    # Among them are the interpreters that are scripts themselves.
    options = tuple(
        root + word if word.startswith(b"/") and bundle.layout.chain(word) else word for word in bundle.interpreter[1:]
    )
    if not manifest.loader:
        return (program, Through(options, False, *script)) if script else (program, None)
    glibc = bool(manifest.glibc)
    searched = b":".join(root + directory for directory in manifest.library_dirs)
    # An empty list names the program itself: its DT_RPATH would lead back to the node's directories.
    inhibit = (b"--inhibit-rpath", b"") if glibc else ()
    return root + manifest.loader, Through(
        (b"--library-path", searched, *inhibit),
        not glibc or manifest.glibc_version >= _ARGV0_SINCE,
        program,
        bundle.interpreter[0] if script else b"",
        (*options, *script),
    )
