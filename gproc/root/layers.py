"""Other forms of a laid-out bundle: without the glibc set, for nodes whose own is newer; with starters and locales, for
plain jobs.

Each is made once for each bundle, from hard links, beside the first form: so a job pays nothing for it.  Instead of the
first one, the node's glibc could be bound over a union, file by file.  That costs some 30 mounts per job, and a link
cannot be mounted on.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable

from gproc.content.manifest import Directory, Entry, File, Symlink
from gproc.root.code_layout import CodeLayout
from gproc.root.locale_archive import ARCHIVE, ARCHIVE_BYTES_MAX, ArchivePart, files_in
from gproc.root.redirected import LOCALES, STARTERS
from gproc.root.starters import Starters


def without_glibc(layout: CodeLayout, laid_out: bytes, to: bytes) -> None:
    """Make the directory `to`: the bundle's code as in `laid_out`, without glibc.  Nothing is done if it exists.

    `to` must be on the same file system as `laid_out`.  It appears complete or not at all.  The caller owns it, and
    removes it together with `laid_out`.

    Raises: OSError, which names the path.
    """
    tops = {directory.split(b"/")[1] for directory in layout.directories}
    kept = (
        entry
        for entry in layout.manifest.entries
        if entry.path.split(b"/")[1] in tops and entry.path not in layout.glibc
    )
    _make(to, lambda partial: _fill(kept, laid_out, partial))


def for_plain(layout: CodeLayout, starters: Starters, laid_out: bytes, to: bytes) -> None:
    """Make the directory `to`: all of `laid_out`, the starters, and the locales of an archive.  Otherwise as
    `without_glibc`."""

    def fill(partial: bytes) -> None:
        _fill(layout.manifest.entries, laid_out, partial)
        for path, text in starters.scripts:
            _write(partial + STARTERS + path, text, 0o755)
        if any(file.path == ARCHIVE and file.size_bytes <= ARCHIVE_BYTES_MAX for file in layout.manifest.files()):
            with open(os.open(laid_out + ARCHIVE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                archive = file.read()
            places: dict[ArchivePart, bytes] = {}
            for name, extent in files_in(archive):
                place = partial + LOCALES + b"/" + name
                if extent in places:
                    os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
                    os.link(places[extent], place)
                else:
                    _write(place, archive[extent.offset : sum(extent)], 0o644)
                    places[extent] = place

    _make(to, fill)


def _write(place: bytes, content: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
    with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)


def _make(to: bytes, fill: Callable[[bytes], None]) -> None:
    if os.path.isdir(to):
        return
    import shutil  # and tempfile: 0.5 MB with what they import, which a node needs once for some bundles
    import tempfile

    partial = tempfile.mkdtemp(dir=os.path.dirname(to), prefix=os.path.basename(to) + b".")
    try:
        os.chmod(partial, 0o755)
        fill(partial)
        os.rename(partial, to)
    except OSError as error:
        shutil.rmtree(partial)
        # Another process has made it meanwhile, and it is complete.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _fill(entries: Iterable[Entry], laid_out: bytes, partial: bytes) -> None:
    for entry in entries:
        source, to = laid_out + entry.path, partial + entry.path
        match entry:
            case Directory():
                os.mkdir(to, 0o700)
                found = os.stat(source, follow_symlinks=False)
                with contextlib.nullcontext() if os.geteuid() == 0 else contextlib.suppress(PermissionError):
                    os.chown(to, found.st_uid, found.st_gid)
                os.chmod(to, (found.st_mode & 0o777) | 0o700)
            case Symlink():
                os.symlink(entry.target, to)
            case File():
                os.link(source, to, follow_symlinks=False)
