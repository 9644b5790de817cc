"""What a job sees, with real mounts: as root and in a user namespace, and on a node that gives neither."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gproc.content.manifest import Directory, Entry, File, Manifest, Symlink, check, digest_of
from gproc.root import kernel, layers, script
from gproc.root.asked import Asked
from gproc.root.code_layout import CodeLayout
from gproc.root.facts import NodeFacts, NodeFiles
from gproc.root.plan import LaidOut, needs_without_glibc, plan, plan_local
from gproc.root.view import View

TRIPLET = "/usr/lib/x86_64-linux-gnu"
LOADER = "/lib64/ld-linux-x86-64.so.2"
GLIBC = tuple(f"{TRIPLET}/{name}" for name in ("ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6"))
MARK = b"-OF-THE-BUNDLE"

GREET = r"""
#include <stdio.h>
#include <unistd.h>
#include <limits.h>
const char *word(void);
int main(int argc, char **argv) {
    char exe[PATH_MAX] = {0}, cwd[PATH_MAX];
    readlink("/proc/self/exe", exe, sizeof exe - 1);
    printf("%s\n%s\n%s\n%s\n", word(), argv[0], exe, getcwd(cwd, sizeof cwd));
    fflush(stdout);
    if (argc > 1) { execvp(argv[1], argv + 1); return 99; }
    return 0;
}
"""

Bundled = Callable[..., LaidOut]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program `greet` and the library libgreet9.so that it needs."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    if not os.path.exists(GLIBC[0]):
        pytest.skip("needs a Debian of x86_64 with a merged /usr")
    at = tmp_path_factory.mktemp("built")
    (at / "greet.c").write_text(GREET)
    (at / "word.c").write_text('const char *word(void) { return "hello"; }')
    for line in ("-shared -fPIC -o libgreet9.so word.c", "-o greet greet.c -L. -lgreet9"):
        subprocess.run(["gcc", *line.split()], cwd=at, check=True)
    return at


@pytest.fixture
def bundled(tmp_path: Path) -> Bundled:
    """Lay files out as a store does, and describe them as a packager does."""

    def lay_out(
        program: str, files: dict[str, bytes | str], version: tuple[int, int] = (2, 17), loader: str = LOADER
    ) -> LaidOut:
        """files: path -> content, or a link's target.  /usr, /lib and /lib64 are as Debian has them."""
        at = tmp_path / "laid_out"
        at.mkdir()
        merged: dict[str, bytes | str] = {"/lib": "usr/lib", "/lib64": "usr/lib64"}
        merged["/usr" + LOADER] = "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
        merged |= {path: Path(path).read_bytes() + MARK for path in GLIBC}
        entries: list[Entry] = []
        made: set[str] = set()
        for path, content in sorted((merged | files).items()):
            for parent in reversed(Path(path).parents[:-1]):
                if str(parent) not in made:
                    made.add(str(parent))
                    (at / str(parent)[1:]).mkdir()
                    entries.append(Directory(os.fsencode(parent), 0o755, 0, 0))
            to = at / path[1:]
            if isinstance(content, str):
                to.symlink_to(content)
                entries.append(Symlink(os.fsencode(path), os.fsencode(content)))
            else:
                to.write_bytes(content)
                to.chmod(0o755)
                chunks = [content[start : start + (1 << 20)] for start in range(0, len(content), 1 << 20)]
                digests = b"".join(digest_of(chunk) for chunk in chunks)
                entries.append(File(os.fsencode(path), 0o755, 0, 0, len(content), 0, digests))
        code = sorted({os.path.dirname(path) for path, content in (merged | files).items()} - {"/"})
        manifest = Manifest(
            program.encode(),
            loader.encode(),
            (TRIPLET.encode(), *(directory.encode() for directory in code if directory.endswith("/lib"))),
            tuple(directory.encode() for directory in code),
            tuple(path.encode() for path in GLIBC),
            version,
            tuple(entries),
        )
        check(manifest)
        layout = CodeLayout(manifest)
        stripped = os.fsencode(tmp_path / "stripped")
        layers.without_glibc(layout, os.fsencode(at), stripped)
        at.chmod(0o755)
        return LaidOut(layout, os.fsencode(at), stripped, script.interpreter(layout, os.fsencode(at), b"/", {}))

    return lay_out


def view_of(node: Any, bundle: LaidOut, cwd: str = "/home/someone/work") -> View:
    able = node.abilities
    for top, directories, files in os.walk(bundle.at):
        # A slave owns what is in its store.
        for name in (b".", *directories, *files):
            os.chown(os.path.join(top, name), node.uid, node.uid, follow_symlinks=False)
    facts = NodeFiles().facts(bundle.layout, namespaces=able.view, overlay=able.overlay, cwd=cwd.encode())
    older = bundle.layout.manifest.glibc_version < (99, 0)
    assert (able.overlay and older) or not needs_without_glibc(bundle.layout, facts)
    return plan(bundle, node.bin_root, Asked(cwd.encode()), facts, b"0.1")


def greeting(built: Path, program: str, library: str) -> dict[str, bytes | str]:
    return {program: (built / "greet").read_bytes(), library: (built / "libgreet9.so").read_bytes()}


def seen_cwd(node: Any, cwd: str) -> str:
    """A job starts in its caller's directory in a view, and below its root on a plain node."""
    return seen_root(node) + cwd if node.kind == "plain" else cwd


def seen_root(node: Any) -> str:
    return str(os.fsdecode(node.bin_root)) + ("/0.1" if node.kind == "plain" else "")


def test_a_program_and_its_library_are_found_at_their_own_paths(node: Any, built: Path, bundled: Bundled) -> None:
    bundle = bundled("/usr/bin/greet9", greeting(built, "/usr/bin/greet9", f"{TRIPLET}/libgreet9.so"))
    done = node.run("greet9", view=view_of(node, bundle))
    assert done.code == 0, done
    word, argv0, exe, cwd = done.output.splitlines()
    assert word == "hello"
    assert cwd == seen_cwd(node, "/home/someone/work")
    if node.kind == "private":
        assert (argv0, exe) == ("greet9", "/usr/bin/greet9")
    else:
        # A loader of glibc 2.17, as which this one poses, knows no --argv0.
        assert (argv0, exe) == (seen_root(node) + "/usr/bin/greet9", seen_root(node) + GLIBC[0])
    assert list(Path(os.fsdecode(node.bin_root)).iterdir()) == []


def test_the_nodes_own_tools_run_as_children(node: Any, built: Path, bundled: Bundled) -> None:
    bundle = bundled("/usr/bin/greet9", greeting(built, "/usr/bin/greet9", f"{TRIPLET}/libgreet9.so"))
    script = "ls / >/dev/null && perl -e 'print 6*7' && sort --version >/dev/null && echo fine"
    done = node.run("greet9", "sh", "-c", script, view=view_of(node, bundle))
    assert (done.code, done.output.splitlines()[-1]) == (0, "42fine")


@pytest.mark.parametrize("version", [(2, 17), (99, 0)])
def test_of_two_glibcs_the_newer_wins(node: Any, built: Path, bundled: Bundled, version: tuple[int, int]) -> None:
    if node.kind == "plain":
        pytest.skip("a plain node always takes the bundle's")
    bundle = bundled("/usr/bin/greet9", greeting(built, "/usr/bin/greet9", f"{TRIPLET}/libgreet9.so"), version)
    words = ["greet9", "sh", "-c", f"for f in {' '.join(GLIBC)} {LOADER}; do tail -c {len(MARK)} $f; echo; done"]
    done = node.run(*words, view=view_of(node, bundle))
    assert done.code == 0, done
    assert done.output.count(MARK.decode()) == (4 if version == (99, 0) else 0)


def facts_without_usr(bundle: LaidOut) -> NodeFacts:
    """The facts that a slave with an empty /usr finds; a child process sees it so."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            kernel.unshare(kernel.CLONE_NEWNS)
            kernel.mount(b"none", b"/", None, kernel.MS_REC | kernel.MS_SLAVE)
            kernel.mount(b"none", b"/usr", b"tmpfs", 0, b"mode=0755")
            found = NodeFiles().facts(bundle.layout, namespaces=True, overlay=True, cwd=b"/work")
            os.write(writer, msgspec.msgpack.encode(found))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        found = msgspec.msgpack.decode(told.read(), type=NodeFacts)
    os.waitpid(child, 0)
    return found


def test_a_node_without_any_library_runs_the_program_with_the_bundles(
    empty_node: Any, built: Path, bundled: Bundled
) -> None:
    bundle = bundled("/usr/bin/greet9", greeting(built, "/usr/bin/greet9", f"{TRIPLET}/libgreet9.so"))
    view = plan(bundle, empty_node.bin_root, Asked(b"/work"), facts_without_usr(bundle), b"")
    # Its child is the program again: whatever else a node has, this one has not.
    done = empty_node.run("greet9", "greet9", view=view)
    assert done.code == 0, done
    word, argv0, exe, cwd = done.output.splitlines()[:4]
    assert (word, argv0, exe, cwd) == ("hello", "greet9", "/usr/bin/greet9", "/work")
    assert done.output.count("hello") == 2
    assert empty_node.run("ls").failure.stage == "exec"


def test_a_union_cannot_be_written_and_the_rest_can(node: Any, built: Path, bundled: Bundled, tmp_path: Path) -> None:
    if node.kind == "plain":
        pytest.skip("needs a view")
    bundle = bundled("/usr/bin/greet9", greeting(built, "/usr/bin/greet9", f"{TRIPLET}/libgreet9.so"))
    free = tmp_path / "free"
    free.mkdir(mode=0o777)
    free.chmod(0o777)
    script = f"touch /usr/bin/x 2>&1; touch {free}/y && echo written"
    done = node.run("greet9", "sh", "-c", script, view=view_of(node, bundle))
    assert done.output.splitlines()[-1] == "written"
    if node.uid == 0:
        assert "Read-only file system" in done.output
    assert (free / "y").exists()
    assert not os.path.exists("/usr/bin/x")


def test_a_job_writes_to_its_root_and_the_store_stays_as_it_is(node: Any, built: Path, bundled: Bundled) -> None:
    files = greeting(built, "/usr/bin/greet9", f"{TRIPLET}/libgreet9.so")
    bundle = bundled("/usr/bin/greet9", {**files, "/home/data": b"of the store"})
    root = seen_root(node)
    script = f"echo mine >here && cat here {root}/home/data && rm -f here"
    done = node.run("greet9", "sh", "-c", script, view=view_of(node, bundle))
    assert done.output.endswith("mine\nof the store")
    assert sorted(os.listdir(bundle.at + b"/home")) == [b"data"]
    assert list(Path(os.fsdecode(node.bin_root)).iterdir()) == []


def test_a_directory_that_the_node_lacks_is_there(node: Any, built: Path, bundled: Bundled) -> None:
    if node.kind == "plain":
        pytest.skip("needs a view")
    program, lib = "/opt/gproc-none-such/bin/greet9", "/opt/gproc-none-such/lib"
    bundle = bundled(program, greeting(built, program, lib + "/libgreet9.so"))
    before = sorted(os.listdir("/opt"))
    done = node.run("greet9", "ls", "/opt", view=view_of(node, bundle), env=["PATH=/usr/bin", f"LD_LIBRARY_PATH={lib}"])
    assert done.code == 0, done
    word, _argv0, exe, _cwd, *listed = done.output.splitlines()
    assert (word, exe) == ("hello", program)
    assert listed == sorted([*before, "gproc-none-such"])
    assert sorted(os.listdir("/opt")) == before


def test_a_program_from_where_users_write_is_at_its_own_path(
    node: Any, built: Path, bundled: Bundled, tmp_path: Path
) -> None:
    own = str(tmp_path / "project")
    bundle = bundled(f"{own}/greet9", greeting(built, f"{own}/greet9", f"{TRIPLET}/libgreet9.so"), (2, 35))
    done = node.run("./greet9", view=view_of(node, bundle, cwd=own))
    word, argv0, exe, cwd = done.output.splitlines()
    assert (word, argv0, cwd) == ("hello", "./greet9", seen_cwd(node, own))
    if node.kind == "private":
        assert exe == f"{own}/greet9"


def test_a_script_runs_by_the_interpreter_of_its_bundle(node: Any, built: Path, bundled: Bundled) -> None:
    files = greeting(built, "/usr/bin/greet9", f"{TRIPLET}/libgreet9.so")
    bundle = bundled("/usr/bin/script9", {**files, "/usr/bin/script9": b"#!/usr/bin/greet9 /bin/echo\n"})
    done = node.run("script9", "one", view=view_of(node, bundle))
    root = seen_root(node) if node.kind == "plain" else ""
    assert done.output.splitlines()[-1] == f"{root}/usr/bin/script9 one"


def test_a_link_in_the_bundle_does_not_make_the_slave_write_elsewhere(
    node: Any, built: Path, bundled: Bundled, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    files = greeting(built, "/usr/bin/greet9", f"{TRIPLET}/libgreet9.so")
    bundle = bundled("/usr/bin/greet9", {**files, "/projects": str(outside)})
    failure = node.run("greet9", view=view_of(node, bundle, cwd="/projects/mine")).failure
    assert failure.stage == "view"
    assert list(outside.iterdir()) == []


def test_strange_characters_in_the_stores_path_are_no_options(
    node: Any, built: Path, bundled: Bundled, tmp_path: Path
) -> None:
    bundle = bundled("/usr/bin/greet9", greeting(built, "/usr/bin/greet9", f"{TRIPLET}/libgreet9.so"))
    strange = os.fsencode(tmp_path) + b"/a:b,upperdir=c\\d"
    os.rename(bundle.at, strange)
    bundle = LaidOut(bundle.layout, strange, bundle.without_glibc)
    assert node.run("greet9", view=view_of(node, bundle)).output.startswith("hello\n")


def test_without_overlays_the_root_is_a_copy_on_a_tmpfs(node: Any, built: Path, bundled: Bundled) -> None:
    if node.kind == "plain":
        pytest.skip("needs a view")
    bundle = bundled("/usr/bin/greet9", greeting(built, "/usr/bin/greet9", f"{TRIPLET}/libgreet9.so"), (2, 35))
    view_of(node, bundle)
    facts = NodeFiles().facts(bundle.layout, namespaces=True, overlay=False, cwd=b"/w")
    done = node.run("greet9", view=plan(bundle, node.bin_root, Asked(b"/w"), facts, b""))
    word, argv0, exe, cwd = done.output.splitlines()
    assert (word, argv0, exe) == ("hello", "greet9", seen_root(node) + GLIBC[0])
    assert cwd == "/w"


def test_the_nodes_own_program_starts_in_a_private_empty_root(node: Any) -> None:
    able = node.abilities
    facts = NodeFacts(able.view, able.overlay)
    view = plan_local(b"sh", node.bin_root, Asked(b"/home/me"), facts, b"0.1")
    done = node.run("sh", "-c", "pwd; echo x >file; ls", view=view)
    assert done.output.splitlines() == [seen_cwd(node, "/home/me"), "file"]
    assert list(Path(os.fsdecode(node.bin_root)).iterdir()) == []


def test_a_root_that_became_a_link_is_not_mounted_on(node: Any, tmp_path: Path) -> None:
    if node.kind == "plain":
        pytest.skip("needs a view")
    link = tmp_path / "link"
    link.symlink_to("/usr")
    view = plan_local(b"true", os.fsencode(link), Asked(b"/w"), NodeFacts(True, True, tops=frozenset({b"/w"})), b"")
    failure = node.run("true", view=view).failure
    assert failure.stage == "view"
    assert str(link) in failure.message


def test_a_root_that_became_anothers_is_not_mounted_on(own_node: Any, tmp_path: Path) -> None:
    if own_node.kind == "plain" or own_node.uid != 0:
        pytest.skip("needs a view, and root, who can tell others apart")
    os.chown(own_node.bin_root, 4321, -1)
    view = plan_local(b"true", own_node.bin_root, Asked(b"/w"), NodeFacts(True, True, tops=frozenset({b"/w"})), b"")
    assert "belongs to user 4321" in own_node.run("true", view=view).failure.message


def test_a_user_may_mount_on_roots_directory(own_node: Any) -> None:
    if own_node.kind == "plain" or os.getuid() != 0:
        pytest.skip("needs a view, and root to give a directory away")
    os.chown(own_node.bin_root, 0, 0)
    view = plan_local(b"true", own_node.bin_root, Asked(b"/w"), NodeFacts(True, True, tops=frozenset({b"/w"})), b"")
    assert own_node.run("true", view=view).code == 0
