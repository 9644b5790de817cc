"""The rules for which relay takes in whose child, and which hosts a slave may dial."""

from __future__ import annotations

import msgspec
import pytest

from gproc.errors import TrustError
from gproc.nodespec import Place
from gproc.relay.adoption import (
    ADOPTED_FROM,
    NotBelow,
    adopted_numbers,
    is_at_home,
    may_move,
    shown_grant,
    shown_number,
)
from gproc.service.registry import Registry
from gproc.trust.signing import Context, Signer
from gproc.trust.ticket import Ancestor, Grant
from gproc.wire.messages import Join, NodeInfo, Route, Signed

MASTER = Signer(bytes(32))


def node(name: str, dials: str = "10.0.0.254:6666") -> NodeInfo:
    return NodeInfo(name, f"{name}:6666", name.encode().ljust(16, b"."), "", 0.0, "", dials)


def join(info: NodeInfo, grant: Signed | None) -> Join:
    return Join(b"t" * 16, 7, True, info, grant)


def grant_of(info: NodeInfo, *place: int, signer: Signer = MASTER) -> Signed:
    return signer.sign(Context.GRANT, Grant(b"s" * 16, info.nonce, Place(place), 1, 0))


def test_a_grant_is_believed_only_of_the_master_and_only_of_its_own_node() -> None:
    mine, other = node("kn7"), node("kn8")
    assert shown_grant(join(mine, None), MASTER.public_key) is None
    shown = shown_grant(join(mine, grant_of(mine, 1, 7)), MASTER.public_key)
    assert shown is not None
    assert shown.place == (1, 7)
    for false in (grant_of(other, 1, 8), grant_of(mine, 1, 7, signer=Signer(b"x" * 32))):
        with pytest.raises(TrustError):
            shown_grant(join(mine, false), MASTER.public_key)


def test_a_node_is_at_home_below_its_parent_and_adopted_further_up_and_nowhere_else() -> None:
    place = Place((1, 2, 3))
    assert is_at_home(place, Place((1, 2)))
    assert not is_at_home(place, Place((1,)))
    assert not is_at_home(place, Place(()))
    for elsewhere in ((2,), (1, 2, 3), (1, 2, 3, 4), (1, 3)):
        with pytest.raises(NotBelow, match="1/2/3"):
            is_at_home(place, Place(elsewhere))
        assert not may_move(place, Place(elsewhere))


def test_adopted_children_have_numbers_of_their_own_and_none_has_that_of_one_before_it() -> None:
    numbers = adopted_numbers()
    assert (next(numbers), next(numbers)) == (ADOPTED_FROM, ADOPTED_FROM + 1)
    assert (shown_number(7), shown_number(ADOPTED_FROM + 1)) == ("7", "+2")


def test_a_registry_keeps_places_when_routes_change() -> None:
    registry = Registry()
    rack, below = node("rack"), node("kn7")
    registry.arrive(Route((1,)), rack)
    child, _ = registry.arrive(Route((1, 7)), below)
    assert registry.ancestors(child) == (Ancestor("", "10.0.0.254:6666"),)
    registry.lose(child, 1.0)
    assert registry.places() == [(1,)]
    orphan = Route((ADOPTED_FROM,))
    assert registry.objection(orphan, below) == ""
    again, displaced = registry.arrive(orphan, below)
    assert (again is child, displaced) == (True, None)
    assert (child.place, child.route) == ((1, 7), orphan)
    assert registry.places() == [(1,), (1, 7)]


def test_a_registry_takes_no_stranger_as_adopted_and_no_node_to_where_it_was_not_below() -> None:
    registry = Registry()
    for number in (1, 2):
        registry.arrive(Route((number,)), node(f"rack{number}"))
    registry.arrive(Route((1, 7)), node("kn7"))
    assert registry.objection(Route((ADOPTED_FROM,)), node("stranger")) == "nobody knows whose child it is"
    assert registry.objection(Route((2, 7)), node("kn7")) == "it is 1/7 (kn7), which is not below 2"
    assert registry.objection(Route((3, 1)), node("kn9")) == "the node above it is not there"
    renamed = msgspec.structs.replace(node("kn7"), name="kn8")
    assert registry.objection(Route((1, 7)), renamed) == "it is 1/7 (kn7), which is not below 1"


def test_another_run_of_a_slave_has_the_place_from_now_on() -> None:
    registry = Registry()
    former, _ = registry.arrive(Route((1,)), node("kn1"))
    again = msgspec.structs.replace(node("kn1"), nonce=b"another run....")
    later, displaced = registry.arrive(Route((1,)), again)
    assert displaced is former
    assert registry.at(Place((1,))) is later
    assert registry.by_nonce(former.nonce) is None
