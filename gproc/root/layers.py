"""The second form of a laid-out bundle: without the glibc set, for nodes whose own is newer.

It is made once for each bundle, from hard links, beside the first form: so a job pays nothing for it.  The
alternative is to bind the node's glibc over a union, file by file.  That costs some 30 mounts per job, and a link
cannot be mounted on.
"""

from __future__ import annotations

import contextlib
import errno
import os

from gproc.content.manifest import Directory, File, Symlink
from gproc.root.code_layout import CodeLayout


def without_glibc(layout: CodeLayout, laid_out: bytes, to: bytes) -> None:
    """Make the directory `to`: the bundle's code as in `laid_out`, without glibc.  Nothing is done if it exists.

    `to` must be on the same file system as `laid_out`.  It appears complete or not at all.  The caller owns it, and
    removes it together with `laid_out`.

    Raises: OSError, which names the path.
    """
    if os.path.isdir(to):
        return
    import shutil  # and tempfile: 0.5 MB with what they import, which a node needs once for some bundles
    import tempfile

    partial = tempfile.mkdtemp(dir=os.path.dirname(to), prefix=os.path.basename(to) + b".")
    try:
        os.chmod(partial, 0o755)
        _fill(layout, laid_out, partial)
        os.rename(partial, to)
    except OSError as error:
        shutil.rmtree(partial)
        # Another process has made it meanwhile, and it is complete.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _fill(layout: CodeLayout, laid_out: bytes, partial: bytes) -> None:
    tops = {directory.split(b"/")[1] for directory in layout.directories}
    for entry in layout.manifest.entries:
        if entry.path.split(b"/")[1] not in tops or entry.path in layout.glibc:
            continue
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
