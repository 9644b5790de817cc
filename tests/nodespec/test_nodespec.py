"""The node specification compared with a naive model of the rules in docs/reference.md, over small trees."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import SpecError
from gproc.nodespec import NodeSpec, Path, fold, format_path

WIDTH = 5
DEPTH = 3
EVERYWHERE: list[Path] = [path for depth in range(1, DEPTH + 1) for path in product(range(1, WIDTH + 1), repeat=depth)]

numbers = st.integers(1, WIDTH + 1)
levels = st.one_of(
    st.just("."),
    numbers.map(str),
    st.tuples(numbers, numbers).map(lambda pair: f"{min(pair)}-{max(pair)}"),
)
paths = st.builds(
    lambda exact, parts: exact + "/".join(parts),
    st.sampled_from(["", "="]),
    st.lists(levels, min_size=1, max_size=DEPTH),
)
specs = st.lists(paths, min_size=1, max_size=4).map(",".join)
nodes = st.sets(st.sampled_from(EVERYWHERE), max_size=40)
trees = nodes.map(lambda some: {path[:depth] for path in some for depth in range(1, len(path) + 1)})


def level_holds(level: str, node: int) -> bool:
    first, _, last = level.partition("-")
    return level == "." or int(first) <= node <= int(last or first)


def model_of_path(text: str, node: Path) -> bool:
    """Whether one path of a spec selects the node, as docs/reference.md says it."""
    parts = text.removeprefix("=").split("/")
    if len(node) > len(parts) or (text.startswith("=") and len(node) < len(parts)):
        return False
    return all(level_holds(part, id_) for part, id_ in zip(parts, node, strict=False))


def model(text: str, node: Path) -> bool:
    return any(model_of_path(part, node) for part in text.split(","))


def model_of_missing(text: str, node: Path, connected: set[Path]) -> bool:
    """Whether a path selects node, and its highest place that is not connected stands there as a number."""
    if node in connected:
        return False
    lost = next(depth for depth in range(1, len(node) + 1) if node[:depth] not in connected)
    return any(
        model_of_path(part, node) and part.removeprefix("=").split("/")[lost - 1] != "." for part in text.split(",")
    )


@given(specs)
def test_a_spec_selects_what_the_design_says(text: str) -> None:
    spec = NodeSpec.parse(text)
    for node in EVERYWHERE:
        assert spec.selects(node) == model(text, node), node


@given(specs, trees)
def test_selecting_from_a_tree_is_asking_for_each_node_of_it(text: str, tree: set[Path]) -> None:
    spec = NodeSpec.parse(text)
    order = sorted(tree, reverse=True)
    assert spec.select(order) == [node for node in order if spec.selects(node)]


@given(specs)
def test_a_spec_written_out_parses_back_equal(text: str) -> None:
    spec = NodeSpec.parse(text)
    assert NodeSpec.parse(str(spec)) == spec


@given(specs)
def test_an_exclusion_reads_every_path_as_its_last_level(text: str) -> None:
    exact = ",".join("=" + path.removeprefix("=") for path in text.split(","))
    assert NodeSpec.parse_exclusion(text) == NodeSpec.parse(exact)


@given(nodes)
def test_a_folded_set_selects_exactly_its_nodes(some: set[Path]) -> None:
    text = fold(some)
    if not some:
        assert text == ""
        return
    spec = NodeSpec.parse(text)
    assert str(spec) == text
    assert {node for node in EVERYWHERE if spec.selects(node)} == some


@given(specs, trees)
def test_what_is_missing_asks_for_just_what_was_named_and_is_not_there(text: str, tree: set[Path]) -> None:
    answer = NodeSpec.parse(text).missing(tree)
    for node in EVERYWHERE:
        assert bool(answer and model(answer, node)) == model_of_missing(text, node, tree), (answer, node)


@given(specs, trees, specs)
def test_with_the_same_exclusion_again_the_missing_are_those_not_excluded(
    text: str, tree: set[Path], exclusion: str
) -> None:
    excluded = NodeSpec.parse_exclusion(exclusion)
    answer = NodeSpec.parse(text).missing(tree, excluded)
    for node in EVERYWHERE:
        if not excluded.selects(node):
            asked = bool(answer and model(answer, node))
            assert asked == model_of_missing(text, node, tree), (answer, node)
        elif "." not in text:
            assert not (answer and model(answer, node)), (answer, node)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1-2,3/1-3", "1-2,3/1-3"),
        ("007", "7"),
        ("5-5", "5"),
        ("=3", "3"),
        ("=1/4-7", "=1/4-7"),
        ("1-9999999999", "1-9999999999"),
        ("././.", "././."),
    ],
)
def test_a_spec_has_one_spelling(text: str, canonical: str) -> None:
    assert str(NodeSpec.parse(text)) == canonical


def test_comma_binds_loosest() -> None:
    spec = NodeSpec.parse("1-2,3/1-3")
    tree: list[Path] = [(1,), (2,), (3,), (4,), (1, 1), (3, 1), (3, 3), (3, 4)]
    assert spec.select(tree) == [(1,), (2,), (3,), (3, 1), (3, 3)]


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("", 0, "wanted a number or '.', not the end"),
        (",1", 0, "wanted a number or '.', not ','"),
        ("1,", 2, "not the end"),
        ("1,,2", 2, "not ','"),
        ("/1", 0, "not '/'"),
        ("1//2", 2, "not '/'"),
        ("1/", 2, "not the end"),
        ("1-", 2, "not the end"),
        ("-5", 0, "not '-'"),
        (".-5", 1, "cannot begin a range"),
        ("3-.", 2, "cannot end a range"),
        ("5-1", 2, "ends before it begins"),
        ("2,15-1/3", 5, "the range 15-1 ends before it begins"),
        ("1-2-3", 3, "wanted ',', '/' or the end, not '-'"),
        ("0", 0, "ids start at 1"),
        ("1/0-3", 2, "ids start at 1"),
        ("000", 0, "ids start at 1"),
        ("1,12345678901", 2, "at most 10 digits"),
        (" 1", 0, "spaces are not allowed"),
        ("1, 2", 2, "spaces are not allowed"),
        ("1 ", 1, "spaces are not allowed"),
        ("1\t", 1, "spaces are not allowed"),
        ("1/=2", 2, "at the beginning of a path"),
        ("==1", 1, "at the beginning of a path"),
        ("=", 1, "not the end"),
        ("1x", 1, "not 'x'"),
        ("kn20", 0, "not 'k'"),
        ("1.", 1, "not '.'"),
        ("²", 0, "not '²'"),
        ("1٣", 1, "not '٣'"),
    ],
)
def test_an_error_shows_its_position(text: str, position: int, reason: str) -> None:
    for parse in (NodeSpec.parse, NodeSpec.parse_exclusion):
        with pytest.raises(SpecError) as caught:
            parse(text)
        assert (caught.value.text, caught.value.position) == (text, position)
        assert reason in caught.value.reason


@given(specs, st.data())
def test_a_stray_character_is_found_where_it_stands(text: str, data: st.DataObject) -> None:
    stray = data.draw(st.sampled_from("x: ;*\n+²"))
    position = data.draw(st.integers(0, len(text)))
    with pytest.raises(SpecError) as caught:
        NodeSpec.parse(text[:position] + stray + text[position:])
    # One error may stand before it: a range cut short by it can end before it begins (12-13: "12-1x3").
    assert caught.value.position <= position
    if "ends before" not in caught.value.reason:
        assert caught.value.position == position


@given(st.text(alphabet="0123456789.,/=- x", max_size=12))
def test_any_text_is_a_spec_or_an_error_within_it(text: str) -> None:
    try:
        spec = NodeSpec.parse(text)
    except SpecError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert NodeSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("nodes_", "text"),
    [
        ([], ""),
        ([(7,), (1,), (2,), (3,)], "1-3,7"),
        ([(1, 4), (1, 5), (1, 6), (1, 7), (2, 1)], "=1/4-7,=2/1"),
        ([(rack, node) for rack in (1, 2) for node in (1, 2, 3)], "=1-2/1-3"),
        ([(1,), (2,), (1, 1), (2, 1), (2, 2)], "1-2,=1/1,=2/1-2"),
        ([(1, 1), (1, 1)], "=1/1"),
    ],
)
def test_sets_are_folded_for_people(nodes_: list[Path], text: str) -> None:
    assert fold(nodes_) == text


@pytest.mark.parametrize(
    ("text", "connected", "exclusion", "answer"),
    [
        ("1-1000000000", [(1,), (2,), (3,)], None, "4-1000000000"),
        ("1-1000000000", [(2,)], "3-7", "1,8-1000000000"),
        ("1/2-5", [(2,)], None, "1/2-5"),
        ("1/2-5", [(1,), (1, 3)], None, "=1/2,=1/4-5"),
        ("1/2-5", [], "1", "=1/2-5"),
        ("1/2-5", [], "1/3", "1,=1/2,=1/4-5"),
        ("1/.", [], "1/3", "1/."),
        ("1/.", [(1,)], None, ""),
        ("=1/.", [(2,)], None, "=1/."),
        ("./.", [(1,), (2,)], None, ""),
        (".", [], None, ""),
        ("./3", [(1,), (2,), (2, 3), (3,)], None, "=1/3,=3/3"),
        ("./3", [(1,), (2,), (3,)], "2/.", "=1/3,=3/3"),
        ("./3/5", [(1,), (2,), (2, 3)], None, "=1/3,=1-2/3/5"),
        ("1-5,3-8", [(4,)], None, "1-3,5-8"),
        ("1-3,7", [(1,), (3,)], None, "2,7"),
        ("1-3", [(1,), (2,), (3,)], None, ""),
        ("1-3", [(1,)], "2-3", ""),
    ],
)
def test_missing_nodes_are_told_as_a_spec(text: str, connected: list[Path], exclusion: str | None, answer: str) -> None:
    excluded = None if exclusion is None else NodeSpec.parse_exclusion(exclusion)
    assert NodeSpec.parse(text).missing(connected, excluded) == answer


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=5).map(tuple))
def test_a_nodes_path_after_an_equals_sign_selects_this_node_alone(path: Path) -> None:
    others = [path[:depth] for depth in range(1, len(path))]
    assert NodeSpec.parse(f"={format_path(path)}").select([*others, path]) == [path]
