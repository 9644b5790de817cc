"""Checks, makes, shares and removes the directory in which jobs find their bundle, `-binRoot`.

Bundles are mounted on it.  On a plain node, each job's copy is made in it.  A user who could replace it could choose
what a job executes.  So it must belong to root or to the slave's own user, and must not be a link.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
import threading
from typing import Final

from gproc.disk.trees import remove_tree
from gproc.disk.trusted import make_directories, user_name, why_untrusted
from gproc.errors import LaunchError, TrustError
from gproc.trust.meeting import RUN_DIRECTORY, make_run_directory

log = logging.getLogger("gproc")

_MADE: Final = 0o1755
"""The mode of a directory that gproc made and may remove.  Its sticky bit marks it, and has no other effect here."""

_ATTEMPTS: Final = 10
"""How often to try to take the directory: another slave may remove it at the same moment."""


class BinRoot:
    """One slave's hold on binRoot.  While it lasts, no other slave removes the directory.

    Removing it would tear the mounts from it in the namespaces of running jobs: rmdir(2) does, since Linux 3.18.
    """

    def __init__(self, path: bytes, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._lock = threading.Lock()

    def hold(self) -> None:
        """Make it again if it was removed: otherwise every new job would fail.  Running jobs have their mounts.

        Raises: LaunchError if another directory is there that cannot be binRoot.
        """
        with self._lock:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._fd), os.stat(self.path, follow_symlinks=False)):
                    return
            former, self._fd = self._fd, claim(self.path)._fd
            os.close(former)
        log.warning("binRoot %s was removed, and is made again", os.fsdecode(self.path))

    def release(self) -> None:
        """Stop using the directory.  The last slave removes it, if gproc made it and it is empty."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_IMODE(os.fstat(self._fd).st_mode) == _MADE:
                os.rmdir(self.path)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.ENOTEMPTY, errno.EBUSY, errno.ENOENT, errno.EACCES):
                raise
        finally:
            os.close(self._fd)


def claim_usual(path: bytes, usual: bytes) -> BinRoot:
    """As `claim`.  If `path` is the usual one and another user has taken it, use a directory that only we can make.

    Raises: LaunchError, which says why neither can be binRoot.
    """
    try:
        return claim(path)
    except LaunchError as error:
        elsewhere = _elsewhere() if path == usual else None
        if elsewhere is None:
            raise
        try:
            if os.geteuid() == 0:
                make_run_directory()
            claimed = claim(elsewhere)
        except (TrustError, LaunchError):
            raise error from None
        log.warning("%s; jobs find their bundles at %s", error, os.fsdecode(elsewhere))
        return claimed


def _elsewhere() -> bytes | None:
    """A directory below /run, in which only root makes entries, or in the user's own part of it: pam_systemd(8)."""
    if os.geteuid() == 0:
        return os.fsencode(RUN_DIRECTORY) + b"/xproc"
    own = os.environb.get(b"XDG_RUNTIME_DIR", b"")
    return own + b"/gproc/xproc" if own.startswith(b"/") else None


def claim(path: bytes) -> BinRoot:
    """Make the directory `path` if it is missing, hold it, and remove what dead slaves left there.

    Raises: LaunchError, which says why this cannot be binRoot.
    """
    for _ in range(_ATTEMPTS):
        try:
            _make(path)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise LaunchError(_refused(path, error)) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
                _check_owner(path, fd)
                _clear(path)
                return BinRoot(path, fd)
        except FileNotFoundError:
            pass
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError):  # flock(2) on NFS without a lock server, or a directory of root's on NFS
                raise LaunchError(_refused(path, error)) from error
            raise
        os.close(fd)
    raise LaunchError(f"binRoot {os.fsdecode(path)} is removed again and again: does another program use it?")


def job_name(slave_pid: int, job: int) -> bytes:
    """The directory of one job on a plain node.  Its name tells `claim` which slave made it."""
    return b"%d.%d" % (slave_pid, job)


def _make(path: bytes) -> None:
    make_directories(os.path.dirname(path), 0o755)
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return
    os.chmod(path, _MADE)


def _check_owner(path: bytes, fd: int) -> None:
    found = os.fstat(fd)
    if found.st_uid not in (0, os.geteuid()):
        raise LaunchError(
            f"binRoot {os.fsdecode(path)} belongs to {user_name(found.st_uid)}, who could exchange what jobs execute: "
            "choose another with -binRoot"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise LaunchError(
            f"binRoot {os.fsdecode(path)} may be written to by others (mode {stat.S_IMODE(found.st_mode):o}): "
            "chmod it to 755, or choose another with -binRoot"
        )
    if reason := why_untrusted(path):
        raise LaunchError(
            f"binRoot {os.fsdecode(path)}: {reason}, so others could exchange what jobs execute: "
            "choose another with -binRoot"
        )


def _refused(path: bytes, error: OSError) -> str:
    name = os.fsdecode(path)
    try:
        found = os.lstat(path)
    except OSError:
        return f"binRoot {name} cannot be used: {error.strerror}; choose another with -binRoot"
    owner = user_name(found.st_uid)
    if stat.S_ISLNK(found.st_mode):
        return f"binRoot {name} is a symbolic link of {owner}: name the directory itself with -binRoot"
    if not stat.S_ISDIR(found.st_mode):
        return f"binRoot {name} is not a directory, and belongs to {owner}: remove it, or choose another with -binRoot"
    return f"binRoot {name} cannot be used: {error.strerror}; choose another with -binRoot"


def _clear(path: bytes) -> None:
    """Remove the job directories of slaves that are dead; those of other users' slaves stay."""
    with os.scandir(path) as entries:
        for entry in entries:
            pid, dot, job = entry.name.partition(b".")
            if dot and pid.isdigit() and job.isdigit() and not os.path.exists(b"/proc/" + pid):
                remove_tree(entry.path)
