"""`gproc key rotate`: exchanges the cluster's keys while it runs."""

from __future__ import annotations

import os
import sys
from typing import Final

import msgspec

from gproc.cli.options import KeyOptions
from gproc.cli.trace import Trace
from gproc.errors import TrustError, UsageError
from gproc.shown import quoted_text, shown_text
from gproc.trust.authority import next_authority, open_authority
from gproc.trust.home import gproc_home
from gproc.trust.ledger import damage, read_ledger
from gproc.trust.rotation import NewKeysProgress, begin_rotation, end_rotation, progress_of

FINISH: Final = "gproc key rotate finish"


def rotate(options: KeyOptions, words: list[str]) -> None:
    """Make new keys, or say how far nodes are with them; `finish`: the old ones end."""
    if words and words[0] != "finish":
        raise UsageError(f"{quoted_text(words[0])} is unknown here: `gproc key rotate`, and later `{FINISH}`")
    authority = open_authority(gproc_home(os.environ, make=False), create=False)
    trace = Trace(options.debug)
    following = next_authority(authority)
    if words:
        if following is None:
            raise TrustError("no keys are being exchanged: `gproc key rotate` makes new ones")
        if why := damage(authority.home, read_ledger(authority.home)[1]):
            raise TrustError(why)
        _check_left_behind(progress_of(authority, following), words[1:])
        trace.step(f"moves the new keys into {authority.home}")
        end_rotation(authority)
        print(f"the old keys have ended: generation {authority.generation} is the only one; make a backup")
        return
    if following is None:
        trace.step(f"makes new keys in {authority.home}")
        following = begin_rotation(authority)
    _show(options, following.generation, progress_of(authority, following))


def _check_left_behind(progress: NewKeysProgress, named: list[str]) -> None:
    """Raises: TrustError if hosts would be left behind that the admin has not named."""
    if unknown := sorted(set(named) - set(progress.missing)):
        raise TrustError(f"no such host lacks a certificate of the new keys: {shown_text(', '.join(unknown))}")
    if left := [name for name in progress.missing if name not in named]:
        raise TrustError(
            f"these hosts have no certificate of the new keys yet, and could not join any more: {', '.join(left)}; "
            f"they get one while they are in the tree; if they may be left behind, say `{FINISH} {' '.join(left)}`"
        )


def _show(options: KeyOptions, generation: int, progress: NewKeysProgress) -> None:
    if options.json:
        found = {"generation": generation, "ready": progress.ready, "missing": progress.missing}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
        return
    print(f"new keys, generation {generation}, count beside the present ones until `{FINISH}`")
    print(f"hosts that have a certificate of them: {', '.join(progress.ready) or 'none'}")
    print(f"hosts that have none yet: {', '.join(progress.missing) or 'none'}")
