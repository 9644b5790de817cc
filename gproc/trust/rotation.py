"""The cluster's keys are exchanged: new ones beside the old ones, then instead of them.  On the front end, on disk.

`$GPROC_HOME/next` has the new keys while both count.  When the old ones end, the new ones are moved into their place,
and the list of revoked certificates gets another number, so that it is signed and sent anew.  A step that was cut off
by a power failure is completed when the keys are opened next.
"""

from __future__ import annotations

import os
import time
from typing import Final

import msgspec

from gproc.errors import TrustError
from gproc.trust.authority import Authority, has_authority, make_keys, next_authority
from gproc.trust.certfile import CA_CERTIFICATE, CA_KEY, NEXT_KEYS, TICKET_KEY, TICKET_PUBLIC
from gproc.trust.home import HOME_MODE, PUBLIC_MODE, SECRET_MODE, locked, read_file, write_file
from gproc.trust.ledger import ISSUING, issued
from gproc.trust.revocations import REVOKED, is_revoked, read_revocations

KEY_FILES: Final = ((TICKET_KEY, SECRET_MODE), (TICKET_PUBLIC, PUBLIC_MODE), (CA_CERTIFICATE, PUBLIC_MODE),
                    (CA_KEY, SECRET_MODE))  # fmt: skip
"""The last one is what makes a directory an authority's."""

_ENDING: Final = "ending"
"""In `next`: the old keys are being replaced."""


class NewKeysProgress(msgspec.Struct, frozen=True):
    """Which hosts have a certificate of the new keys, of those that have a good one of the present keys."""

    ready: tuple[str, ...]
    missing: tuple[str, ...]


def begin_rotation(authority: Authority) -> Authority:
    """Make the next keys.  Raises: TrustError if there are some."""
    directory = os.path.join(authority.home, NEXT_KEYS)
    with locked(authority.home):
        if has_authority(directory):
            raise TrustError(f"{directory} has new keys already")
        os.makedirs(directory, HOME_MODE, exist_ok=True)
        make_keys(directory, authority.cluster, authority.generation + 1)
    found = next_authority(authority)
    assert found is not None
    return found


def progress_of(authority: Authority, following: Authority) -> NewKeysProgress:
    now_s = time.time()
    revoked = read_revocations(authority.home)
    good = [
        entry
        for entry in issued(authority.home)
        if entry.role == "node" and entry.expires_s > now_s
        and not is_revoked(revoked, entry.name, entry.serial, entry.issued_s)
    ]  # fmt: skip
    ready = {entry.name for entry in good if entry.generation == following.generation}
    # The front end makes its own, whenever it needs one.
    here = {entry.name for entry in good if entry.kind == "front end"}
    known = {entry.name for entry in good} - here
    return NewKeysProgress(tuple(sorted(ready)), tuple(sorted(known - ready)))


def end_rotation(authority: Authority) -> None:
    """Make the next keys the only ones.  Raises: TrustError."""
    directory = os.path.join(authority.home, NEXT_KEYS)
    with locked(authority.home):
        if not has_authority(directory):
            raise TrustError(f"there are no new keys in {directory}: `gproc key rotate` makes them")
        write_file(os.path.join(directory, _ENDING), b"", SECRET_MODE)
        _move(authority.home, directory)


def complete_rotation(home: str) -> None:
    """Complete an `end_rotation` that was cut off."""
    directory = os.path.join(home, NEXT_KEYS)
    if os.path.exists(os.path.join(directory, _ENDING)):
        with locked(home):
            if os.path.exists(os.path.join(directory, _ENDING)):
                _move(home, directory)


def _move(home: str, directory: str) -> None:
    for name, mode in KEY_FILES:
        new = os.path.join(directory, name)
        if os.path.exists(new):
            write_file(os.path.join(home, name), read_file(new), mode)
    _renumber(home)
    for name, _ in KEY_FILES:
        if os.path.exists(new := os.path.join(directory, name)):
            os.unlink(new)
    os.unlink(os.path.join(directory, _ENDING))
    os.rmdir(directory)


def _renumber(home: str) -> None:
    """Nodes take a list of revoked certificates only if its number is higher."""
    if not os.path.exists(os.path.join(home, REVOKED)):
        return
    with locked(home, ISSUING):
        found = read_revocations(home)
        after = msgspec.structs.replace(found, number=max(found.number + 1, int(time.time())))
        write_file(os.path.join(home, REVOKED), msgspec.json.encode(after) + b"\n", SECRET_MODE)
