"""A manifest comes from a user: what it may not say."""

from __future__ import annotations

import pytest

from gproc.content.manifest import Directory, Entry, File, Symlink, decode, digest_of
from gproc.errors import BundleError
from tests.store.samples import HELLO, bundle_of, file_of


@pytest.mark.parametrize(
    "entries",
    [
        (file_of(b"/../etc/passwd", HELLO),),
        (file_of(b"/a/../../etc/passwd", HELLO),),
        (file_of(b"etc/passwd", HELLO),),
        (file_of(b"//etc", HELLO),),
        (file_of(b"/", HELLO),),
        (file_of(b"/a\0b", HELLO),),
        (file_of(b"/a", HELLO), file_of(b"/a", HELLO)),
        (Symlink(b"/a", b"/etc"), file_of(b"/a/passwd", HELLO)),
        (Symlink(b"/a", b"/etc"), Directory(b"/a", 0o755, 0, 0), file_of(b"/a/passwd", HELLO)),
        (file_of(b"/a", HELLO), file_of(b"/a/b", HELLO)),
        (Directory(b"/a/b", 0o755, 0, 0), Directory(b"/a", 0o755, 0, 0)),
        (file_of(b"/a", HELLO, 0o4755),),
        (file_of(b"/a", HELLO, 0o2755),),
        (Directory(b"/a", 0o1777, 0, 0),),
        (file_of(b"/a", HELLO, -1),),
        (File(b"/a", 0o644, 0, 0, 5, 0, b""),),
        (File(b"/a", 0o644, 0, 0, 0, 0, digest_of(b"")),),
        (File(b"/a", 0o644, 0, 0, -1, 0, b""),),
        (Symlink(b"/a", b""),),
        (Symlink(b"/a", b"x\0y"),),
    ],
    ids=repr,
)
def test_a_hostile_manifest_is_refused(entries: tuple[Entry, ...]) -> None:
    _, encoded = bundle_of(*entries)
    with pytest.raises(BundleError):
        decode(encoded)
