"""Words for nodes among the paths of NODES."""

from __future__ import annotations

import re

import pytest
from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import SpecError
from gproc.naming.expanding import UnknownNames, names_of
from gproc.naming.hosts import fold_hosts, is_host
from gproc.naming.naming import PLACES, HostNames, is_plain, retold
from gproc.naming.words import FAILED, Words, is_specification, joined

PATHS = st.sampled_from(["1", "=1/4-7", ".", "./.", "9-12"])


@given(st.lists(PATHS | st.just(FAILED), min_size=1, max_size=6))
def test_the_word_can_stand_in_any_place(parts: list[str]) -> None:
    words = Words.parse(",".join(parts))
    assert words.failed == (FAILED in parts)
    assert words.paths == ",".join(part for part in parts if part != FAILED)
    assert is_plain(words.paths)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0), (",@failed", 0), ("@failed,", 8), ("1,@failed/3", 9), ("kn1,1-", 6), ("kn1, kn2", 4), ("1;2", 1),
        ("kn[1-", 2), ("kn[1-3]]", 7), ("kn[5-1]", 3), ("kn[1,]", 5), ("7[1-3]", 0), ("[1-3]", 0), ("=kn3", 0),
        ("kn1/3", 3), ("@", 0), ("a@b", 1), ("1,kn[1-3]!kn2", 0), ("@failed!kn1", 0), ("kn1!", 4), ("\u0663", 0),
        ("kn[1-9/0]", 3), ("kn*", 2),
    ],
)
def test_what_is_wrong_is_shown_at_its_place(text: str, position: int) -> None:
    with pytest.raises(SpecError) as raised:
        Words.parse(text)
    assert raised.value.position == position
    assert not is_specification(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [("!vm", "before '!'"), ("kn1!", "behind '!'"), ("kn1,^kn2", "before '^'"), ("kn1&!kn2", "before '!'")],
)
def test_an_operator_with_nothing_at_one_side_is_told_as_that(text: str, words: str) -> None:
    """`!vm`: "wanted a number or '.', not the end", with nothing at its end."""
    with pytest.raises(SpecError, match=f"hosts or a group are wanted {re.escape(words)}"):
        Words.parse(text)


def test_a_word_of_a_few_kilobytes_is_refused_before_it_is_expanded() -> None:
    for text in ("kn[1-999999999]", "a[1-300]b[1-300]", "a[1-2]" * 5000, "kn[1-20000],x", "a" * 300, "a[1]" * 300):
        with pytest.raises(SpecError):
            Words.parse(text)
    assert sum(operand.size for operand in Words.parse("kn[1-20000]").hosts) == 20000


@given(st.text(st.sampled_from("k1-9[],/@!&^=.: *f"), max_size=30))
def test_no_text_is_anything_but_a_specification_or_one_error_at_a_place(text: str) -> None:
    try:
        words = Words.parse(text)
    except SpecError as error:
        assert 0 <= error.position <= len(text) and error.reason
        return
    assert words.paths or words.failed or words.hosts
    try:
        names = names_of(words.hosts, lambda group: ())
    except UnknownNames as error:
        assert str(error)
    else:
        assert all(map(is_host, names))


LABELS = st.sampled_from(["kn{}", "node{:02}", "r{}n{:03}", "n{}-ib", "{}x", "login", "a.b{}"])
HOSTS = st.builds(lambda form, one, two: form.format(one, two), LABELS, st.integers(0, 120), st.integers(0, 12))


@given(st.sets(HOSTS, max_size=30))
def test_hosts_that_are_folded_are_the_same_hosts_for_clustershell_and_for_us(names: set[str]) -> None:
    text = fold_hosts(names)
    if not names:
        assert text == ""
        return
    assert set(map(str, NodeSet(text, resolver=RESOLVER_NOGROUP))) == names
    assert set(names_of(Words.parse(text).hosts, lambda group: ())) == names


PARTS = st.sampled_from(["kn[1-20]", "kn7", "kn[2-9/3]", "a[01-12]", "r[1-3]n[1-4]", "r2n[3-6]", "login"])


@given(PARTS, st.lists(st.tuples(st.sampled_from(",!&^"), PARTS), max_size=5))
def test_hosts_are_combined_as_clustershell_combines_them(first: str, rest: list[tuple[str, str]]) -> None:
    text = first + "".join(operator + part for operator, part in rest)
    expected = set(map(str, NodeSet(text, resolver=RESOLVER_NOGROUP)))
    assert set(names_of(Words.parse(text).hosts, lambda group: ())) == expected


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["node01", "node02", "node10", "login1"], "login1,node[01-02,10]"),
        (["kn1", "kn2", "kn01"], "kn[1-2],kn01"),
        (["r1n1", "r1n2", "r2n1", "r2n2"], "r[1-2]n[1-2]"),
        (["x" + "9" * 30], "x" + "9" * 30),
    ],
)
def test_hosts_are_folded_as_people_write_them(names: list[str], text: str) -> None:
    assert fold_hosts(names) == text


def test_a_node_is_called_by_its_host_if_that_is_known() -> None:
    hosts = {(1,): "kn20", (1, 1): "kn1", (1, 2): "kn2", (2,): "kn40"}
    naming = HostNames(hosts, ("kn99",), frozenset({"kn40"}))
    assert naming.fold([(1, 1), (1, 2), (3,)]) == "kn[1-2],3"
    assert naming.refold("2,=1/1-2") == "kn[1-2,40]"
    assert naming.refold("=1/1-3,1-1000000000,./.") == "=1/1-3,1-1000000000,./."
    assert naming.missing("2") == "kn40,kn99"
    assert (naming.name((1, 2)), naming.name((9,)), naming.file_name((3, 1))) == ("kn2", "9", "3.1")
    assert naming.for_records == "kn[1-2,20]"
    assert PLACES.fold([(1,), (2,)]) == "1-2"
    assert (PLACES.refold("7"), PLACES.missing("8"), PLACES.for_records) == ("7", "8", "")


def test_what_the_master_says_of_nodes_has_their_names() -> None:
    naming = HostNames({(1, 1): "kn1", (2,): "kn40"}, (), frozenset())
    said = "drained: 2,=1/1 (until 5; not connected: bad disk); drained: 7: leave them out"
    told = "drained: kn[1,40] (until 5; not connected: bad disk); drained: 7: leave them out"
    assert (retold(said, naming), retold(said, PLACES)) == (told, said)
    assert retold("not connected: 2", naming) == "not connected: kn40"


@given(st.lists(PATHS | st.just(""), max_size=4))
def test_specifications_are_joined_without_empty_parts(texts: list[str]) -> None:
    assert joined(*texts) == ",".join(text for text in texts if text)
