"""A slave's own code does only what the master has signed and what it knows."""

from __future__ import annotations

import os
from typing import get_args

import pytest

from gproc.copy.builtin import CollectFiles, PlaceFiles, task_for
from gproc.errors import LaunchError
from gproc.nodespec import Place
from gproc.request.spec import Action, Caller, Request
from gproc.trust.signing import Context, Signer, Unreadable
from gproc.trust.ticket import Grant, Ticket, TicketVerifier

ROOT = b"/tmp/xproc"
TREE = b"/store/tree"


def test_a_ticket_that_asks_for_an_unknown_task_is_refused() -> None:
    signer = Signer(b"s" * 32)
    verifier = TicketVerifier(signer.public_key, b"n" * 16, os.geteuid())
    verifier.joining()
    verifier.accept_grant(signer.sign(Context.GRANT, Grant(b"x" * 16, b"n" * 16, Place((1,)), 1, 0)))
    actions: tuple[Action, ...] = get_args(Action)
    for sequence, action in enumerate(actions, start=2):
        verifier.check_target(verifier.admit(signer.sign(Context.TICKET, ticket(sequence, action))))
    with pytest.raises(Unreadable, match="'erase'"):
        verifier.admit(signer.sign(Context.TICKET, ticket(9, "erase")))  # type: ignore[arg-type]


def ticket(sequence: int, action: Action) -> Ticket:
    request = Request(nodes=".", argv=(b"get", b"/x"), action=action, stdin=action == "map")
    return Ticket(
        session=b"x" * 16, sequence=sequence, job=sequence, start_by_ms=1000, request=request,
        caller=Caller(os.geteuid(), os.getegid(), ()),
    )  # fmt: skip


def test_an_action_is_what_its_ticket_says() -> None:
    assert task_for("run", (b"date",), TREE, ROOT) is None
    assert task_for("place", (b"cp", b"/x"), TREE, ROOT) == PlaceFiles(TREE, b"/x")
    assert task_for("collect", (b"get", b"/x"), None, ROOT) == CollectFiles(b"/x")


@pytest.mark.parametrize(
    ("action", "argv", "tree"),
    [
        ("place", (b"cp", b"/x"), None),
        ("place", (b"cp",), TREE),
        ("place", (b"cp", b"x"), TREE),
        ("place", (b"cp", b""), TREE),
        ("place", (b"cp", b"/x", b"/y"), TREE),
        ("place", (b"cp", ROOT), TREE),
        ("place", (b"cp", ROOT + b"/x"), TREE),
        ("collect", (b"get",), None),
        ("collect", (b"get", b"x"), None),
    ],
)
def test_an_action_without_what_it_needs_is_an_error(action: str, argv: tuple[bytes, ...], tree: bytes | None) -> None:
    with pytest.raises(LaunchError):
        task_for(action, argv, tree, ROOT)
