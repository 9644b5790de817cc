"""What is found out about a node, on directories that play its part."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gproc.content.manifest import Directory, File, Manifest, Symlink, digest_of
from gproc.root.code_layout import CodeLayout
from gproc.root.facts import NodeFiles


def file(path: bytes, content: bytes, mode: int = 0o755) -> File:
    return File(path, mode, 0, 0, len(content), 0, digest_of(content) if content else b"")


@pytest.fixture
def node(tmp_path: Path) -> NodeFiles:
    return NodeFiles(os.fsencode(tmp_path))


def test_the_node_has_a_file_with_the_same_bytes(node: NodeFiles, tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"abc")
    (tmp_path / "tool").chmod(0o755)
    assert node.has(file(b"/tool", b"abc"))
    assert not node.has(file(b"/tool", b"abd"))
    assert not node.has(file(b"/other", b"abc"))


def test_a_changed_file_is_compared_again(node: NodeFiles, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_bytes(b"abc")
    tool.chmod(0o755)
    assert node.has(file(b"/tool", b"abc"))
    tool.write_bytes(b"xyz")
    assert not node.has(file(b"/tool", b"abc"))
    assert node.has(file(b"/tool", b"xyz"))


def test_the_node_does_not_have_a_file_that_may_not_be_executed(node: NodeFiles, tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"abc")
    (tmp_path / "tool").chmod(0o644)
    assert not node.has(file(b"/tool", b"abc"))
    assert node.has(file(b"/tool", b"abc", 0o644))


def test_the_node_has_a_link_with_the_same_target(node: NodeFiles, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("there")
    assert node.has(Symlink(b"/link", b"there"))
    assert not node.has(Symlink(b"/link", b"here"))
    assert not node.has(file(b"/link", b""))


def test_the_version_of_a_glibc_is_in_its_banner(node: NodeFiles, tmp_path: Path) -> None:
    banner = b"GNU C Library (Debian GLIBC 2.41-12) stable release version 2.41.\n"
    (tmp_path / "libc.so.6").write_bytes(b"\x7fELF..." + banner)
    assert node.glibc_version(b"/libc.so.6") == (2, 41)
    assert node.glibc_version(b"/none") == (0, 0)


def test_this_machines_own_glibc_is_recognised() -> None:
    try:
        name, version = os.confstr("CS_GNU_LIBC_VERSION").split()  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        pytest.skip("needs glibc")
    libc = b"/lib/x86_64-linux-gnu/libc.so.6"
    if not os.path.exists(libc):
        pytest.skip("needs Debian's paths")
    assert name == "glibc"
    assert NodeFiles().glibc_version(libc) == tuple(int(part) for part in version.split("."))


def test_files_are_compared_again_only_after_a_change(node: NodeFiles, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"abc")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "code").mkdir()
    files = (file(b"/code/a", b"abc"), file(b"/code/b", b"abc"))
    directory = Directory(b"/code", 0o755, 0, 0)
    layout = CodeLayout(Manifest(b"/code/a", b"", (), (b"/code",), (), (0, 0), (directory, *files)))

    def identical() -> frozenset[bytes]:
        return node.facts(layout, namespaces=True, overlay=True).identical

    assert identical() == set()
    (tmp_path / "a").rename(tmp_path / "code" / "a")
    assert identical() == {b"/code/a"}
    assert identical() is identical()
    (tmp_path / "b").rename(tmp_path / "code" / "b")
    assert identical() == {b"/code/a", b"/code/b"}
    (tmp_path / "code" / "a").chmod(0o600)
    assert identical() == {b"/code/b"}
    (tmp_path / "code" / "b").write_bytes(b"xyz")
    assert identical() == set()
