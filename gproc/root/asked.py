"""What a view depends on besides bundle and node: the caller's side.  Pure."""

from __future__ import annotations

import msgspec


class Asked(msgspec.Struct, frozen=True):
    """What a view depends on besides bundle and node.

    cwd: the caller's working directory.  own_cwd: it is the node's own directory (`--cwd`), not the job's.
    shown_at: where the caller wants the root; b"": at binRoot.
    home: the caller's.  name: argv[0].  search_path: the caller's PATH.
    variables: the caller's; only a plain job's view depends on them.
    """

    cwd: bytes
    own_cwd: bool = False
    shown_at: bytes = b""
    home: bytes = b""
    name: bytes = b""
    search_path: bytes = b""
    variables: tuple[tuple[bytes, bytes], ...] = ()
