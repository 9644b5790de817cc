"""Which view a node gets, as a value: no mount is made here."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.content.manifest import Directory, Entry, File, Manifest, Symlink
from gproc.errors import LaunchError
from gproc.root.asked import Asked
from gproc.root.code_layout import CodeLayout
from gproc.root.facts import NodeDirectory, NodeFacts
from gproc.root.plan import LaidOut, needs_without_glibc, plan, plan_local
from gproc.root.view import CopyTree, InPlace, MakeDirectory, Overlay, OwnTop, Proc, Tmpfs, View

BIN, LIB = b"/usr/bin", b"/usr/lib/x86_64-linux-gnu"
PROGRAM, LIBRARY = BIN + b"/solver", LIB + b"/libsolve.so.1"
LIBC, LOADER = LIB + b"/libc.so.6", b"/lib64/ld-linux-x86-64.so.2"
REAL_LOADER = LIB + b"/ld-linux-x86-64.so.2"
LAID_OUT, STRIPPED, ROOT = b"/var/store/laid", b"/var/store/stripped", b"/tmp/xproc"


def file(path: bytes) -> File:
    return File(path, 0o755, 0, 0, 0, 0, b"")


def directories(*paths: bytes) -> list[Entry]:
    return [Directory(path, 0o755, 0, 0) for path in paths]


def manifest(program: bytes = PROGRAM, more: Iterable[Entry] = (), code: tuple[bytes, ...] = ()) -> Manifest:
    entries = [
        Symlink(b"/lib64", b"usr/lib64"),
        Symlink(b"/lib", b"usr/lib"),
        *directories(b"/usr", BIN, b"/usr/lib", LIB, b"/usr/lib64"),
        Symlink(b"/usr/lib64/ld-linux-x86-64.so.2", b"../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
        *(file(path) for path in (PROGRAM, LIBRARY, LIBC, REAL_LOADER)),
        *more,
    ]
    dirs = (BIN, LIB, b"/usr/lib64", *code)
    return Manifest(program, LOADER, (LIB, *code), dirs, (LIBC, REAL_LOADER), (2, 31), tuple(entries))


def bundle(**changes: object) -> LaidOut:
    return LaidOut(CodeLayout(manifest(**changes)), LAID_OUT, STRIPPED)  # type: ignore[arg-type]


def here(path: bytes, **changes: object) -> NodeDirectory:
    return NodeDirectory(path, **{"missing": 0, "system": True, **changes})  # type: ignore[arg-type]


def facts(
    *,
    glibc: tuple[int, int] = (2, 36),
    identical: Iterable[bytes] = (),
    changes: dict[bytes, NodeDirectory] | None = None,
    overlay: bool = True,
    namespaces: bool = True,
    has_libc: bool = True,
) -> NodeFacts:
    """A merged Debian, unless told otherwise."""
    known = {
        BIN: here(BIN),
        LIB: here(LIB),
        b"/usr/lib64": here(b"/usr/lib64"),
        b"/lib64": here(b"/usr/lib64"),
        b"/lib/x86_64-linux-gnu": here(LIB),
        **(changes or {}),
    }
    return NodeFacts(
        namespaces, overlay, known, frozenset(identical), has_loader=True, has_libc=has_libc, glibc_version=glibc
    )


def unions(view: View) -> dict[bytes, Overlay]:
    return {found.at: found for found in view.operations if isinstance(found, Overlay) and not found.upper}


def view(
    found: NodeFacts, laid_out: LaidOut | None = None, cwd: bytes = b"/home/me", *, has_loader: bool = True
) -> View:
    found = msgspec.structs.replace(found, has_loader=has_loader)
    return plan(laid_out or bundle(), ROOT, Asked(cwd), found, b"7.1")


def test_the_private_root_is_the_bundle_below_a_tmpfs() -> None:
    assert view(facts()).operations[-7:] == (
        Tmpfs(ROOT),
        MakeDirectory(ROOT, b"/upper"),
        MakeDirectory(ROOT, b"/work"),
        Overlay((LAID_OUT,), ROOT + b"/upper", ROOT + b"/work", ROOT),
        MakeDirectory(ROOT, b"/home/me"),
        InPlace(b"/home/me", ROOT, True),
        Proc(b"/proc"),
    )


def test_a_newer_glibc_of_the_node_stays() -> None:
    found = view(facts(glibc=(2, 36)))
    assert unions(found)[LIB].lowers == (STRIPPED + LIB, LIB)
    assert b"/usr/lib64" not in unions(found)
    assert needs_without_glibc(bundle().layout, facts(glibc=(2, 36)))


def test_an_equal_glibc_of_the_node_stays() -> None:
    assert unions(view(facts(glibc=(2, 31))))[LIB].lowers == (STRIPPED + LIB, LIB)


def test_a_bundle_without_glibc_is_shown_as_it_is() -> None:
    found = unions(view(facts(glibc=(2, 36))))
    assert found[BIN].lowers == (LAID_OUT + BIN, BIN)


def test_a_program_without_libraries_of_its_own_needs_no_second_tree() -> None:
    found = facts(glibc=(2, 36), identical=[LIBRARY])
    assert set(unions(view(found))) == {BIN}
    assert not needs_without_glibc(bundle().layout, found)


def test_an_ancestor_directory_of_a_glibc_is_covered_by_the_second_tree() -> None:
    new = b"/usr/lib/x86_64-linux-gnu/solver"
    laid_out = bundle(more=[*directories(new), file(new + b"/libown.so")], code=(new,))
    unavailable = dict.fromkeys((new, b"/lib/x86_64-linux-gnu/solver"), here(LIB, missing=1))
    found = facts(glibc=(2, 36), identical=[LIBRARY, PROGRAM], changes=unavailable)
    assert unions(view(found, laid_out))[LIB].lowers == (STRIPPED + LIB, LIB)
    assert needs_without_glibc(laid_out.layout, found)


@given(
    st.sets(st.sampled_from([PROGRAM, LIBRARY, LIBC, REAL_LOADER])),
    st.sampled_from([(2, 28), (2, 31), (2, 36)]),
    st.booleans(),
    st.dictionaries(st.sampled_from([BIN, LIB, b"/usr/lib64"]), st.integers(0, 1)),
)
def test_the_second_tree_is_only_used_if_it_was_made(
    identical: set[bytes], glibc: tuple[int, int], overlay: bool, missing: dict[bytes, int]
) -> None:
    changes = {path: here(path.rsplit(b"/", parts)[0], missing=parts) for path, parts in missing.items()}
    found = facts(glibc=glibc, identical=identical, overlay=overlay, changes=changes)
    read = any(lower.startswith(STRIPPED) for union in unions(view(found)).values() for lower in union.lowers)
    assert needs_without_glibc(bundle().layout, found) or not read


def test_an_older_glibc_of_the_node_is_covered_whole() -> None:
    found = unions(view(facts(glibc=(2, 28))))
    assert found[LIB].lowers == (LAID_OUT + LIB, LIB)
    assert found[b"/usr/lib64"].lowers == (LAID_OUT + b"/usr/lib64", b"/usr/lib64")
    assert not needs_without_glibc(bundle().layout, facts(glibc=(2, 28)))


def test_the_program_runs_at_its_own_path() -> None:
    found = view(facts())
    assert (found.program, found.through, found.cwd) == (PROGRAM, None, b"/home/me")


def test_identical_files_of_the_node_are_not_covered() -> None:
    everything = (PROGRAM, LIBRARY, LIBC, REAL_LOADER, b"/usr/lib64/ld-linux-x86-64.so.2")
    found = view(facts(identical=everything))
    assert (unions(found), found.program) == ({}, PROGRAM)


def test_a_directory_that_users_write_to_is_never_covered() -> None:
    own = b"/home/me"
    laid_out = bundle(program=own + b"/a.out", more=[*directories(b"/home", own), file(own + b"/a.out")], code=(own,))
    found = view(facts(changes={own: here(own, system=False)}), laid_out)
    assert own not in unions(found)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_directory_of_a_home_is_at_its_own_path_and_needs_no_variable(missing: int) -> None:
    own = b"/home/me/lib"
    laid_out = bundle(more=[*directories(b"/home", b"/home/me", own), file(own + b"/libown.so")], code=(own,))
    there = here(b"/home/me", missing=1, system=False) if missing else here(own, system=False)
    found = view(facts(changes={own: there}), laid_out, cwd=b"/tmp")
    assert (found.program, found.through, found.library_path) == (PROGRAM, None, ())
    assert InPlace(own, ROOT, False) in found.operations


def test_nothing_is_shown_in_proc_which_the_jobs_own_hides() -> None:
    """`-f /proc/self/status` of a user: all of /proc/PID was put there, and "cwd: Permission denied"."""
    own = b"/proc/77"
    laid_out = bundle(more=[*directories(b"/proc", own), file(own + b"/status")], code=(own,))
    there = here(b"/proc", missing=1, system=False)
    for found in (here(own, system=False), there):
        made = view(facts(changes={own: found}), laid_out, cwd=b"/tmp")
        assert not [each for each in made.operations if isinstance(each, InPlace) and each.at != b"/tmp"]


def test_a_working_directory_hides_the_nodes_but_a_home_does_not() -> None:
    assert InPlace(b"/home/me", ROOT, True) in view(facts()).operations
    asked = Asked(b"/home/me", home=b"/home/me")
    assert InPlace(b"/home/me", ROOT, False) in plan(bundle(), ROOT, asked, facts(), b"").operations


def test_a_working_directory_that_all_share_is_the_nodes_own() -> None:
    found = view(msgspec.structs.replace(facts(), has_cwd=True), cwd=b"/etc/init.d")
    assert found.cwd == b"/etc/init.d"
    assert not [each for each in found.operations if isinstance(each, InPlace)]
    assert view(facts(), cwd=b"/etc/of_home").cwd == ROOT + b"/etc/of_home"


def test_through_a_loader_only_what_the_loader_needs_comes_from_below_the_root() -> None:
    found = view(facts(overlay=False))
    assert found.program == ROOT + LOADER
    assert found.through is not None
    assert found.through.options == (b"--library-path", ROOT + LIB, b"--inhibit-rpath", b"")
    # --argv0 is younger than this glibc 2.31.
    assert found.arguments((b"solver", b"-x")) == (ROOT + LOADER, *found.through.options, ROOT + PROGRAM, b"-x")


def test_an_interpreter_that_is_a_script_lies_below_the_root_too() -> None:
    """`#!/home/me/interp`, which is a script: sh was given a path that only the caller's machine has."""
    layout = CodeLayout(manifest(program=BIN + b"/x", more=[file(BIN + b"/x"), file(BIN + b"/interp")]))
    laid_out = LaidOut(layout, LAID_OUT, interpreter=(PROGRAM, b"-e", BIN + b"/interp", b"/etc/other"))
    found = plan(laid_out, ROOT, Asked(b"/"), facts(namespaces=False, overlay=False), b"7.1")
    own = ROOT + b"/7.1"
    words = found.arguments((b"x", b"word"))[len((b"", b"--library-path", b"", b"--inhibit-rpath", b"")) :]
    assert words == (own + PROGRAM, b"-e", own + BIN + b"/interp", b"/etc/other", own + BIN + b"/x", b"word")


def test_an_entry_of_the_root_directory_that_the_node_lacks_is_made() -> None:
    found = view(msgspec.structs.replace(facts(), tops=frozenset({b"/projects", b"/lib64"})), cwd=b"/projects/mine")
    assert found.operations[0] == OwnTop(ROOT, (b"projects",), ((b"lib64", b"usr/lib64"),))
    assert (found.program, found.cwd) == (PROGRAM, b"/projects/mine")


def with_a_program_in_the_root_directory() -> LaidOut:
    """As of an image that has one static program, /app."""
    return LaidOut(CodeLayout(Manifest(b"/app", b"", (), (), (), (0, 0), (file(b"/app"),))), LAID_OUT, STRIPPED)


def test_a_file_in_the_root_directory_that_the_node_lacks_is_found_there() -> None:
    lacking = view(NodeFacts(True, True, tops=frozenset({b"/app"})), with_a_program_in_the_root_directory())
    assert lacking.operations[0] == OwnTop(ROOT, (), ((b"app", ROOT + b"/app"),))
    assert lacking.program == b"/app"


def test_another_file_of_the_node_in_the_root_directory_is_not_run_in_place_of_the_callers() -> None:
    assert view(NodeFacts(True, True), with_a_program_in_the_root_directory()).program == ROOT + b"/app"
    same = NodeFacts(True, True, identical=frozenset({b"/app"}))
    assert view(same, with_a_program_in_the_root_directory()).program == b"/app"


def test_a_plain_node_refuses_what_is_opened_by_its_path_unless_it_has_it() -> None:
    modules = b"/usr/lib/python3"
    entries = [*directories(modules), file(modules + b"/os.py")]
    known = {modules: here(modules)}
    laid_out = bundle(more=entries, code=(modules,))
    fixed = msgspec.structs.replace(laid_out.layout.manifest, fixed=(modules,))
    laid_out = LaidOut(CodeLayout(fixed), LAID_OUT, STRIPPED)
    with pytest.raises(LaunchError, match="no private views"):
        view(facts(namespaces=False, changes=known), laid_out)
    has = facts(namespaces=False, changes=known, identical=[modules + b"/os.py"])
    assert view(has, laid_out).kind == "plain"


def test_what_gives_way_is_refused_on_a_plain_node_only_if_the_node_has_no_such_file() -> None:
    """`cat /opt/t`: the node's own file is meant if there is one, whatever is in it."""
    place = b"/opt/data"
    known = {place: here(place)}
    laid_out = bundle(more=[*directories(b"/opt", place), file(place + b"/t")], code=(place,))
    manifest = msgspec.structs.replace(laid_out.layout.manifest, fixed=(place + b"/t",), yielding=(place + b"/t",))
    laid_out = LaidOut(CodeLayout(manifest), LAID_OUT, STRIPPED)
    assert view(facts(namespaces=False, changes=known), laid_out).kind == "plain"
    lacks = msgspec.structs.replace(facts(namespaces=False, changes=known), absent=frozenset({place + b"/t"}))
    with pytest.raises(LaunchError, match="no private views"):
        view(lacks, laid_out)


def test_directories_that_only_the_caller_configured_are_named_to_the_loader_and_no_others() -> None:
    own = b"/opt/solver/lib"
    laid_out = bundle(more=[*directories(b"/opt", b"/opt/solver", own), file(own + b"/libown.so")], code=(own,))
    assert view(facts(changes={own: here(own)}), laid_out).library_path == ()
    configured = msgspec.structs.replace(laid_out.layout.manifest, configured_dirs=(own,))
    found = view(facts(changes={own: here(own)}), LaidOut(CodeLayout(configured), LAID_OUT, STRIPPED))
    assert (found.program, found.through, found.library_path) == (PROGRAM, None, (own,))


@pytest.mark.parametrize(
    ("callers", "given"),
    [((), b"/r/a:/r/b"), ((b"LD_LIBRARY_PATH=/c",), b"/r/a:/r/b:/c"), ((b"LD_LIBRARY_PATH=",), b"/r/a:/r/b")],
)
def test_the_callers_library_path_comes_after_the_bundles(callers: tuple[bytes, ...], given: bytes) -> None:
    found = View("namespaces", (), b"/p", b"/", library_path=(b"/r/a", b"/r/b"))
    assert found.environment((b"A=b=c", *callers)) == {b"A": b"b=c", b"LD_LIBRARY_PATH": given}


def test_a_node_that_lacks_the_loaders_own_link_runs_through_the_loader() -> None:
    found = view(facts(glibc=(0, 0), has_libc=False, changes={b"/lib64": here(b"/", missing=1)}), has_loader=False)
    assert (found.program, found.through is None) == (ROOT + LOADER, False)


def test_a_node_with_an_empty_usr_gets_the_whole_of_it_from_the_bundle() -> None:
    empty = {path: here(b"/usr", missing=missing) for path, missing in {
        BIN: 1, LIB: 2, b"/usr/lib64": 1, b"/lib64": 1, b"/lib/x86_64-linux-gnu": 2}.items()}  # fmt: skip
    found = view(facts(glibc=(0, 0), has_libc=False, changes=empty), has_loader=False)
    assert (found.program, found.through) == (PROGRAM, None)
    assert {at: union.lowers for at, union in unions(found).items()} == {b"/usr": (LAID_OUT + b"/usr", b"/usr")}


def test_if_the_ancestor_of_a_missing_directory_is_covered_its_other_children_stay() -> None:
    new = b"/opt/solver/lib"
    laid_out = bundle(more=[*directories(b"/opt", b"/opt/solver", new), file(new + b"/libown.so")], code=(new,))
    parent = here(b"/opt", missing=2, children=(b"a", b"b"), mounts=(b"a/inner", b"c/d", b"c/d/e"))
    found = unions(view(facts(changes={new: parent}), laid_out))[b"/opt"]
    assert found.lowers == (LAID_OUT + b"/opt", b"/opt")
    assert found.keep == (b"a", b"b", b"c/d")


def test_two_places_that_are_one_directory_of_the_node_become_one_union() -> None:
    old = b"/lib/x86_64-linux-gnu"
    entries = [*directories(b"/lib", old, b"/usr", b"/usr/lib", LIB), file(old + b"/liba.so"), file(LIB + b"/libb.so")]
    value = Manifest(LIB + b"/libb.so", b"", (old, LIB), (old, LIB), (), (0, 0), tuple(entries))
    found = NodeFacts(True, True, {old: here(LIB), LIB: here(LIB)})
    made = unions(plan(LaidOut(CodeLayout(value), LAID_OUT), ROOT, Asked(b"/"), found, b""))
    assert made[LIB].lowers == (LAID_OUT + old, LAID_OUT + LIB, LIB)


def test_a_file_that_yields_is_the_nodes_own_in_a_union_and_in_its_place() -> None:
    """The /usr/lib/os-release of the caller appeared on a node that lacked another directory of /usr/lib."""
    release, mine, code = b"/usr/lib/os-release", b"/usr/lib/tool/release", b"/usr/lib/tool"
    entries = [*directories(b"/usr", b"/usr/lib", code, b"/srv", b"/srv/a"), file(release), file(code + b"/x")]
    entries += [file(mine), file(b"/srv/a/own"), file(b"/srv/a/no")]
    yielding = (release, b"/srv/a/own", b"/srv/a/no")
    value = Manifest(code + b"/x", b"", (), (code,), (), (0, 0), tuple(entries), yielding=yielding)
    lacking = NodeDirectory(b"/usr/lib", 1, True)
    found = NodeFacts(True, True, {code: lacking}, absent=frozenset(yielding[2:]), held=(release, b"/srv/a/own"))
    made = plan(LaidOut(CodeLayout(value), LAID_OUT), ROOT, Asked(b"/"), found, b"")
    assert unions(made)[b"/usr/lib"].keep == (b"os-release",)
    places = [operation for operation in made.operations if isinstance(operation, InPlace)]
    assert places == [InPlace(b"/srv/a", ROOT, False, (b"own", b"no"), yields=True)]


def test_glibcs_at_different_paths_do_not_mix() -> None:
    found = view(facts(has_libc=False))
    assert unions(found) == {}
    assert found.program == ROOT + LOADER


def test_without_overlay_the_root_is_a_copy() -> None:
    found = view(facts(overlay=False))
    assert found.operations[:2] == (Tmpfs(ROOT), CopyTree(LAID_OUT, ROOT))
    assert found.program == ROOT + LOADER


def test_a_plain_node_runs_a_copy_through_the_loader() -> None:
    found = view(facts(namespaces=False, overlay=False))
    own = ROOT + b"/7.1"
    assert (found.kind, found.operations, found.root, found.source) == ("plain", (), own, LAID_OUT)
    assert (found.program, found.cwd) == (own + LOADER, own + b"/home/me")


def test_the_nodes_own_program_gets_an_empty_root() -> None:
    found = plan_local(b"date", ROOT, Asked(b"/w"), facts(), b"7.1")
    mounts = (Tmpfs(ROOT), MakeDirectory(ROOT, b"/w"), InPlace(b"/w", ROOT, True), Proc(b"/proc"))
    assert found == View("namespaces", mounts, b"date", b"/w")


@pytest.mark.parametrize("at", [b"/tmp/xproc/store", b"/tmp"])
def test_a_store_that_the_root_would_hide_is_refused(at: bytes) -> None:
    with pytest.raises(LaunchError, match="lie in one another"):
        plan(LaidOut(bundle().layout, at), ROOT, Asked(b"/"), facts(), b"")


def test_a_code_directory_that_is_a_link_is_no_place() -> None:
    entries = [Symlink(b"/code", b"/root"), *directories(BIN), file(PROGRAM)]
    layout = CodeLayout(Manifest(PROGRAM, b"", (), (b"/code", BIN), (), (0, 0), tuple(entries)))
    assert layout.places == {BIN: BIN}


def test_links_are_followed_inside_the_bundle_only() -> None:
    entries = [
        Symlink(b"/bin", b"usr/bin"),
        *directories(b"/usr", BIN),
        Symlink(BIN + b"/a", b"../../../../bin/b"),
        Symlink(BIN + b"/b", b"/usr/bin/c"),
        file(BIN + b"/c"),
        Symlink(BIN + b"/loop", b"loop"),
        Symlink(BIN + b"/out", b"/etc/passwd"),
    ]
    layout = CodeLayout(Manifest(BIN + b"/c", b"", (), (BIN,), (), (0, 0), tuple(entries)))
    assert layout.chain(b"/bin/a") == (b"/bin", BIN + b"/a", b"/bin", BIN + b"/b", BIN + b"/c")
    assert layout.chain(BIN + b"/loop") == layout.chain(BIN + b"/out") == ()
