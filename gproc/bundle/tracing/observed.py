"""What a program touched when it was observed (`--trace`), as a value, and kept for later commands.

What is a node's own, or secret, is never part of it.  A warm `gproc e` runs `recall`: it imports only what is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

import msgspec

from gproc.bundle import keeping
from gproc.content.manifest import Digest, digest_of
from gproc.content.paths import within

FORMAT: Final = 1
PATHS_MAX: Final = 50_000
"""The limit for one program: ten times what a large scientific program opens."""
KEPT_MAX: Final = 200
"""Programs."""
FOLDER: Final = "observed"

_NODES_TREES: Final = (
    "/proc", "/sys", "/dev", "/run", "/var/run", "/var/lib/dpkg", "/var/lib/rpm", "/usr/lib/sysimage/rpm",
    "/etc/alternatives", "/etc/pam.d", "/etc/security", "/etc/ld.so.conf.d", "/etc/ssh",
    "/etc/ssl/private", "/etc/gproc",
)  # fmt: skip
_NODES_FILES: Final = frozenset(
    f"/etc/{name}"
    for name in (
        "passwd", "group", "shadow", "gshadow", "subuid", "subgid", "hosts", "hostname", "resolv.conf", "nsswitch.conf",
        "host.conf", "gai.conf", "localtime", "timezone", "adjtime", "fstab", "mtab", "machine-id", "ld.so.cache",
        "ld.so.preload", "ld.so.conf", "login.defs", "environment", "os-release", "networks",
    )
) | {"/usr/lib/os-release", "/usr/lib/locale/locale-archive"}  # fmt: skip
_SECRET: Final = frozenset({
    ".ssh", ".gnupg", ".netrc", ".pgpass", ".my.cnf", ".aws", ".azure", ".kube", ".docker", ".git-credentials",
    ".vault-token", ".password-store",
})  # fmt: skip
"""Names in a home whose content must not lie on nodes only because a program has read it."""
_SECRET_BELOW: Final = ("/.config/gproc/", "/.config/gcloud/", "/.local/share/keyrings/")


class Observed(msgspec.Struct, frozen=True, array_like=True):
    """Absolute paths, as the program wrote them: what it executed, and files and directories that it opened or
    looked for.

    left: files that are too large to go along unasked.
    """

    executed: tuple[bytes, ...] = ()
    files: tuple[bytes, ...] = ()
    directories: tuple[bytes, ...] = ()
    left: tuple[bytes, ...] = ()

    def joined(self, other: Observed) -> Observed:
        """Both: each run may take another way through the program."""
        return Observed(
            _united(self.executed, other.executed),
            _united(self.files, other.files),
            _united(self.directories, other.directories),
            _united(self.left, other.left),
        )


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    format: int
    observed: Observed


class Recalled(msgspec.Struct, frozen=True):
    """digest: of what was kept, so that bundles can be told apart without decoding it."""

    content: bytes
    digest: Digest

    def observed(self) -> Observed:
        """Nothing if it cannot be read: it was written by another version."""
        try:
            kept = msgspec.msgpack.decode(self.content, type=_Kept)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Observed()
        return kept.observed if kept.format == FORMAT else Observed()


def name_of(words: Iterable[bytes]) -> str:
    """The name under which it is kept.  words: the program, and what else tells its runs apart, such as its script."""
    return digest_of(msgspec.msgpack.encode(tuple(words))).hex()[:32]


def recall(directory: str, name: str) -> Recalled | None:
    """directory: of all that packing keeps."""
    try:
        content = keeping.read_own(os.path.join(directory, FOLDER, name))
    except OSError:
        return None
    return None if content is None else Recalled(content, digest_of(content))


def keep(directory: str, name: str, observed: Observed) -> None:
    """Add this run to those before it.  Raises: OSError."""
    former = recall(directory, name)
    if former is not None:
        observed = former.observed().joined(observed)
    folder = os.path.join(directory, FOLDER)
    keeping.replace(os.path.join(folder, name), msgspec.msgpack.encode(_Kept(FORMAT, observed)))
    keeping.prune(folder, KEPT_MAX)


def is_nodes_own(path: str) -> bool:
    """Whether this is about the machine and not about the program.  path: absolute, without links."""
    return path in _NODES_FILES or any(within(path, tree) for tree in _NODES_TREES)


def is_secret(path: str) -> bool:
    return not _SECRET.isdisjoint(path.split("/")) or any(part in f"{path}/" for part in _SECRET_BELOW)


def _united(some: tuple[bytes, ...], others: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys((*others, *some)))[:PATHS_MAX]
