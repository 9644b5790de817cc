"""Nodes by the names of their hosts: those that are there, that were there, and that the locale knows."""

from __future__ import annotations

from gproc.locales import load
from gproc.nodespec import Place
from gproc.relay.belonging import Belonging, placed_by
from gproc.service.absences import Absences
from gproc.service.finding import NodeFinder
from gproc.service.registry import Registry
from gproc.wire.job_messages import FindNodes, FoundNodes
from gproc.wire.messages import NodeInfo, Route

KANE = Belonging("front", True, placed_by(load("kane"), 6666)).place_of


class NamedNodes:
    """The tree of a master."""

    def __init__(self, *nodes: tuple[tuple[int, ...], str]) -> None:
        self.registry = Registry()
        self.absences = Absences()
        for index, (place, name) in enumerate(nodes):
            self.registry.arrive(Route(place), NodeInfo(name, ":1", bytes([index]) * 16, "", 1.0))

    def lose(self, place: tuple[int, ...]) -> None:
        node = self.registry.at(Place(place))
        assert node is not None
        self.registry.lose(node, 1.0)
        self.absences.note(node, 1.0, "it is gone")

    def find(self, *hosts: str, groups: tuple[str, ...] = ()) -> FoundNodes:
        return NodeFinder(self, KANE, {"gpu": "kn[1-2]"}).find(FindNodes(1, hosts, groups))


def test_a_host_is_found_wherever_it_is_in_the_tree_and_its_whole_name_counts_first() -> None:
    tree = NamedNodes(((1,), "kn20.site"), ((1, 7), "kn7"), ((2,), "kn7.other"), ((3,), "a.x"), ((4,), "a.y"))
    found = tree.find("kn7", "kn20", "kn20.site", "kn7.other", "a", "nosuch")
    assert found.places == (((1, 7),), ((1,),), ((1,),), ((2,),), (), ())
    assert found.gone == (4, 5)


def test_slaves_of_one_machine_are_all_meant_by_its_name() -> None:
    assert NamedNodes(((1,), "here"), ((2,), "here"), ((2, 1), "here")).find("here").places == (((1,), (2,), (2, 1)),)


def test_a_host_that_was_there_or_has_a_place_by_the_locale_is_known_and_gone() -> None:
    tree = NamedNodes(((1,), "kn20"), ((9,), "odd"))
    tree.lose((9,))
    found = tree.find("odd", "kn20", "kn7", "kn40")
    assert (found.places, found.gone) == ((((9,),), ((1,),), ((1, 7),), ((2,),)), (0, 2, 3))


def test_a_rack_is_a_node_and_all_below_it_by_name_if_each_has_one_of_its_own() -> None:
    tree = NamedNodes(((1,), "kn20"), ((1, 1), "kn1"), ((1, 2), "kn2"), ((2,), "same"), ((2, 1), "same"))
    tree.lose((1, 2))
    assert tree.find(groups=("rack1", "rack2", "rack3", "gpu", "other", "rack01")).groups == (
        "kn[1-2,20]", "2,=2/1", "", "kn[1-2]", "", "",
    )  # fmt: skip
