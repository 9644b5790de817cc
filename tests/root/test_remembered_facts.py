"""The remembered facts of a node are the facts that would be found now, also after changes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproc.content.manifest import Directory, Entry, File, Manifest, Symlink, digest_of
from gproc.disk import seen
from gproc.disk.mounted import MountTable, mounts
from gproc.root.code_layout import CodeLayout
from gproc.root.facts import NodeFacts, NodeFiles
from tests.patience import PATIENCE_S

LIBC: Final = b"GNU C Library (Debian GLIBC 2.41-12) stable release version 2.41.\n"
OTHER_LIBC: Final = LIBC.replace(b"2.41", b"2.36")


def _file(path: bytes, content: bytes) -> File:
    return File(path, 0o755, 0, 0, len(content), 0, digest_of(content))


def _bundle() -> Manifest:
    directories = (b"/bin", b"/etc", b"/opt", b"/opt/app", b"/opt/app/lib", b"/usr", b"/usr/lib", b"/usr/lib/closed")
    entries: tuple[Entry, ...] = (
        *(Directory(path, 0o755, 0, 0) for path in directories),
        Symlink(b"/lib", b"usr/lib"),
        Symlink(b"/usr/tool", b"../bin/tool"),
        _file(b"/bin/tool", b"tool"),
        _file(b"/etc/tool.conf", b"configured"),
        _file(b"/opt/app/lib/libapp.so", b"app"),
        _file(b"/usr/lib/ld.so", b"loader"),
        _file(b"/usr/lib/libc.so.6", LIBC),
        _file(b"/usr/lib/closed/plugin", b"plugin"),
    )
    code = (b"/bin", b"/opt/app/lib", b"/usr/lib")
    glibc = (b"/usr/lib/libc.so.6",)
    yielding = (b"/etc/tool.conf",)
    return Manifest(b"/bin/tool", b"/lib/ld.so", code, code, glibc, (2, 41), entries, yielding=yielding)


class Node:
    """A directory that plays the part of a node's root, and what may happen there.

    What is replaced is moved aside and not removed: a file system may give its inode's number to the next file.
    """

    def __init__(self, top: Path) -> None:
        self.top = top / "node"
        self._aside = top / "aside"
        self._count = 0
        for path in ("bin", "etc", "opt", "usr/lib/closed", "work"):
            (self.top / path).mkdir(parents=True)
        self._aside.mkdir()
        self.link("lib", "usr/lib")
        for name, content in {"bin/tool": b"tool", "usr/lib/ld.so": b"loader", "usr/lib/libc.so.6": LIBC}.items():
            self.write(name, content)

    def move_aside(self, name: str) -> None:
        if os.path.lexists(self.top / name):
            self._count += 1
            (self.top / name).rename(self._aside / str(self._count))

    def write(self, name: str, content: bytes) -> None:
        self.move_aside(name)
        if (self.top / name).parent.is_dir():
            (self.top / name).write_bytes(content)
            (self.top / name).chmod(0o755)

    def link(self, name: str, target: str) -> None:
        self.move_aside(name)
        if (self.top / name).parent.is_dir():
            (self.top / name).symlink_to(target)

    def directory(self, name: str) -> None:
        if os.path.lexists(self.top / name):
            return
        try:
            (self.top / name).mkdir(parents=True)
        except NotADirectoryError:
            return
        # Two changes within a tick of the kernel's clock would leave it at one time.
        self._count += 1
        os.utime((self.top / name).parent, ns=(self._count, self._count))

    def directory_for_link(self, name: str) -> None:
        self.move_aside(name)
        self.directory(name)

    def mode(self, name: str, mode: int) -> None:
        if (self.top / name).exists():
            (self.top / name).chmod(mode)


CHANGES: Final[dict[str, Callable[[Node], None]]] = {
    "the tool is another one": lambda node: node.write("bin/tool", b"else"),
    "the tool is the bundle's": lambda node: node.write("bin/tool", b"tool"),
    "the tool is gone": lambda node: node.move_aside("bin/tool"),
    "the tool is closed": lambda node: node.mode("bin/tool", 0o700),
    "a link to the tool": lambda node: node.link("usr/tool", "../bin/tool"),
    "a link to another tool": lambda node: node.link("usr/tool", "bin/tool"),
    "another libc": lambda node: node.write("usr/lib/libc.so.6", OTHER_LIBC),
    "no libc": lambda node: node.move_aside("usr/lib/libc.so.6"),
    "no loader": lambda node: node.move_aside("usr/lib/ld.so"),
    "lib leads elsewhere": lambda node: node.link("lib", "bin"),
    "lib is a directory": lambda node: node.directory_for_link("lib"),
    "usr is closed": lambda node: node.mode("usr", 0o700),
    "usr is open": lambda node: node.mode("usr", 0o755),
    "everybody may write to usr/lib": lambda node: node.mode("usr/lib", 0o777),
    "a directory within is closed": lambda node: node.mode("usr/lib/closed", 0o700),
    "no opt": lambda node: node.move_aside("opt"),
    "a directory beside": lambda node: node.directory("opt/other"),
    "the application's directory": lambda node: node.directory("opt/app/lib"),
    "a file in place of the application's directory": lambda node: node.write("opt/app", b""),
    "the node is configured": lambda node: node.write("etc/tool.conf", b"own"),
    "nobody may enter the working directory": lambda node: node.mode("work", 0o700),
    "no working directory": lambda node: node.move_aside("work"),
    "the node's root is open to all": lambda node: node.mode("", 0o777),
}


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that changes here gets another inode or mode, so a fresh ctime need not keep facts from being remembered."""
    monkeypatch.setattr(seen, "SETTLED_NS", -int(PATIENCE_S * 1e9))


def _facts(files: NodeFiles, layout: CodeLayout) -> NodeFacts:
    return files.facts(layout, namespaces=True, overlay=True, cwd=b"/work")


@given(st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_after_any_changes_the_facts_are_those_of_now(changes: list[str]) -> None:
    layout = CodeLayout(_bundle())
    with tempfile.TemporaryDirectory(prefix="gproc-test-") as place:
        node = Node(Path(place))
        files = NodeFiles(os.fsencode(node.top))
        _facts(files, layout)
        for change in changes:
            CHANGES[change](node)
            assert _facts(files, layout) == _facts(NodeFiles(os.fsencode(node.top)), layout), change


def test_without_a_change_they_are_not_found_again(tmp_path: Path) -> None:
    node, layout = Node(tmp_path), CodeLayout(_bundle())
    files = NodeFiles(os.fsencode(node.top))
    known = _facts(files, layout)
    assert _facts(files, layout) is known
    (node.top / "work" / "result").write_bytes(b"of another job")
    assert _facts(files, layout) is known
    assert files.facts(layout, namespaces=True, overlay=True, cwd=b"/none").has_cwd is False


def test_facts_of_a_file_that_has_just_changed_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "SETTLED_NS", int(PATIENCE_S * 1e9))
    node, layout = Node(tmp_path), CodeLayout(_bundle())
    files = NodeFiles(os.fsencode(node.top))
    assert _facts(files, layout) is not _facts(files, layout)


def test_the_table_of_mounts_is_read_again_only_after_a_change(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount")
    table = MountTable()
    before = table.now()
    assert before == tuple(mounts())
    assert table.now() is before
    point = os.fsencode(tmp_path)
    if os.system(f"mount -t tmpfs none {tmp_path} 2>/dev/null") != 0:
        pytest.skip("mounting is not allowed here")
    try:
        assert point in {mount.point for mount in table.now()}
    finally:
        os.system(f"umount {tmp_path}")
    assert point not in {mount.point for mount in table.now()}
