"""A copy as a job: what `gproc cp` and `gproc get` ask for, and what is said about what came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from gproc.client.receiving import Collected
from gproc.client.requests import check_nodes, name_of
from gproc.copy.shown import shown
from gproc.copy.steps import PATH_BYTES_MAX
from gproc.errors import SpecError, UsageError
from gproc.nodespec import NodeSpec
from gproc.packager import Bundle
from gproc.request.outcome import Outcome
from gproc.request.spec import Action, Request


class Remote(NamedTuple):
    """A path on nodes: `NODES:PATH`."""

    nodes: str
    path: bytes

    @classmethod
    def parse(cls, text: str) -> Remote:
        """The first colon separates the two; a path may have more of them.

        Raises: UsageError, SpecError.
        """
        nodes, colon, path = text.partition(":")
        if not colon:
            raise UsageError(f"{text!r} names no nodes: NODES:PATH is wanted, as in 1-80:/etc/motd")
        NodeSpec.parse(nodes)
        encoded = os.fsencode(path)
        if not path.startswith("/"):
            raise UsageError(f"{text!r}: an absolute path is wanted after the colon")
        if len(encoded) > PATH_BYTES_MAX or b"\0" in encoded:
            raise UsageError(f"{shown(encoded[:80])}...: is no path: the kernel takes {PATH_BYTES_MAX} bytes")
        return cls(nodes, encoded)


def is_remote(text: str) -> bool:
    """Whether a word that should be a path here looks like NODES:PATH."""
    nodes, colon, path = text.partition(":")
    if not colon or not path.startswith("/"):
        return False
    try:
        NodeSpec.parse(nodes)
    except SpecError:
        return False
    return True


def copy_request(
    remote: Remote, action: Action, *, exclude: str = "", timeout_s: float | None = None, bundle: Bundle | None = None
) -> Request:
    """action: "place" for `cp`, "collect" for `get`.  Raises: SpecError for an exclusion that is none."""
    check_nodes(remote.nodes, exclude)
    return Request(
        nodes=remote.nodes,
        exclude=exclude,
        action=action,
        argv=(b"cp" if action == "place" else b"get", remote.path),
        umask=0,
        bundle=name_of(bundle),
        timeout_s=timeout_s,
    )


def note_torn(collected: Collected, outcomes: Mapping[int, Outcome]) -> None:
    """Complain of every node whose stream has no end although its job went well."""
    for rank, outcome in outcomes.items():
        if outcome.status == 0 and not collected.is_whole(rank) and not collected.was_dropped(rank):
            collected.complaints.add(rank, "what it sent has no end; the files that did arrive are whole")
