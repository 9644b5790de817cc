"""What belongs to a program of the distribution, which its package installed for it alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gproc.bundle.distribution import own_data
from gproc.bundle.image import Image
from gproc.packager import PackRequest, pack
from tests.bundle.conftest import Compile, made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Another root, with a program of a distribution."""
    made(tmp_path, {"usr/bin/tool": ""})
    return tmp_path


def own(root: Path, text: str = "", name: str = "tool") -> own_data.OwnData:
    (root / "usr/bin" / name).write_text(text)
    data = own_data.of(Image(str(root)), f"/usr/bin/{name}", f"/usr/bin/{name}", [])
    return own_data.OwnData(sorted(data.files), sorted(data.settings))


def test_a_program_finds_the_data_that_has_its_name(root: Path) -> None:
    """cmake, bats, espeak-ng and ant failed on each node that lacked their packages."""
    mine = ["usr/share/tool/a", "usr/share/tool-3.25/deep/b", "usr/lib/tool/c", "usr/libexec/tool-core/d",
            "usr/lib/x86_64-linux-gnu/tool-data/e"]  # fmt: skip
    made(root, {**dict.fromkeys(mine, ""), "usr/share/toolbox/x": "", "usr/share/other/y": ""})
    assert own(root).files == sorted(f"/{each}" for each in mine)


def test_a_program_finds_the_data_that_it_names(root: Path) -> None:
    """tesseract and cs2cs have theirs below the name of a package or a library."""
    made(root, {"usr/share/lang/5/data/eng": "", "usr/share/misc/magic.mgc": "", "usr/lib/other/x.so": ""})
    text = "\0/usr/share/lang/5/data/\0/etc/magic:/usr/share/misc/magic\0/usr/lib/other/x.so\0"
    assert own(root, text).files == ["/usr/lib/other/x.so", "/usr/share/lang/5/data/eng", "/usr/share/misc/magic.mgc"]


def test_a_part_of_it_may_be_in_another_package(root: Path) -> None:
    """ant's libraries are links to /usr/share/java."""
    made(root, {"usr/share/java/tool.jar": "", "usr/share/tool/lib/x": "", "home/u/secret": ""})
    (root / "usr/share/tool/lib/tool.jar").symlink_to("../../java/tool.jar")
    (root / "usr/share/tool/lib/out").symlink_to("/home/u/secret")
    assert own(root).files == ["/usr/share/tool/lib/tool.jar", "/usr/share/tool/lib/x"]


def test_what_all_programs_share_is_nobodys_own(root: Path) -> None:
    made(root, {"usr/share/locale/de/x.mo": "", "usr/share/man/man1/x.1": "", "usr/lib/python3/x.py": ""})
    text = "\0/usr/share/locale\0/usr/share\0/usr/lib/python3\0/usr/share/man/man1/x.1\0"
    assert own(root, text).files == []
    assert own(root, name="man").files == []
    assert own(root, name="locale").files == []


def test_what_is_too_large_stays_here_whole(root: Path) -> None:
    made(root, {"usr/share/tool/a": "", "usr/share/tool/b": "", "usr/lib/tool/c": ""})
    os.truncate(root / "usr/share/tool/b", (32 << 20) + 1)
    assert own(root).files == ["/usr/lib/tool/c"]


def test_what_others_may_not_read_stays_here(root: Path) -> None:
    """Keys and passwords lie beside settings, and root may read them."""
    made(root, {"etc/tool/tool.conf": "", "etc/tool/key.pem": "", "usr/share/tool/x": "", "usr/share/tool/y": ""})
    (root / "etc/tool/key.pem").chmod(0o640)
    (root / "usr/share/tool/y").chmod(0o600)
    (root / "usr/share/tool/x").chmod(0o4755)
    made(root, {"usr/share/tool/z": ""})
    assert own(root) == (["/usr/share/tool/z"], ["/etc/tool/tool.conf"])


def test_a_link_to_its_data_is_shown_on_a_node_that_has_the_directory(compiled: Compile, root: Path) -> None:
    """file(1) reads /usr/share/misc/magic.mgc, which leads to /usr/lib/file: nodes that have a /usr/share had none."""
    program = compiled("usr/bin/prog", 'char *a = "/usr/share/misc/magic"; int main() { return 0; }', "-static")
    made(root, {"usr/lib/prog/magic.mgc": ""})
    (root / "usr/share/misc").mkdir(parents=True)
    (root / "usr/share/misc/magic.mgc").symlink_to("../../lib/prog/magic.mgc")
    request = PackRequest("/usr/bin/prog", "/", {"PATH": "/usr/bin"}, root=str(root), cache_dir=str(root / "cache"))
    manifest = pack(request).manifest
    assert {b"/usr/share/misc/magic.mgc", b"/usr/lib/prog/magic.mgc"} <= {entry.path for entry in manifest.entries}
    assert {b"/usr/share/misc", b"/usr/lib/prog"} <= set(manifest.code_dirs)
    assert program.exists()
