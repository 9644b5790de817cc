"""Clusters described in TOML."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import LocaleError
from gproc.locales import Locale, NodeAddress, Options, Parent, Placement, Role, load
from gproc.locales.file import FileLocale, PatternFile

RACKS = """
master = "frontend"
nodes = ["login1"]

[[rack]]
head = "n1"
nodes = ["n2", "n3"]

[[rack.rack]]
head = "n4"
nodes = ["n5"]

[[rack]]
head = "n6"

[addresses]
frontend = "10.0.0.254"
n1 = "10.0.0.1"
n5 = "10.0.0.5"
"""

PATTERN = """
master = "frontend"
pattern = "node{:03}"
last = 400
fan_out = 20
first_address = "10.0.0.1"
"""


def written(tmp_path: Path, text: str) -> Locale:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    return load(str(path))


@pytest.mark.parametrize(
    ("hostname", "id_", "address", "parent"),
    [
        ("login1", 1, "", Parent("10.0.0.254", 6666, is_master=True)),
        ("n1", 2, "10.0.0.1", Parent("10.0.0.254", 6666, is_master=True)),
        ("n3.lab.org", 2, "", Parent("10.0.0.1", 6666, name="n1")),
        ("n4", 3, "", Parent("10.0.0.1", 6666, name="n1")),
        ("n5", 1, "10.0.0.5", Parent("n4", 6666, name="n4")),
        ("n6", 3, "", Parent("10.0.0.254", 6666, is_master=True)),
    ],
)
def test_racks_may_contain_racks(tmp_path: Path, hostname: str, id_: int, address: str, parent: Parent) -> None:
    placement = written(tmp_path, RACKS).place(Role.SLAVE, hostname, Options())
    assert placement == Placement(id=id_, address=address, parent=parent)


def test_nodes_of_racks_are_numbered_as_they_are_read(tmp_path: Path) -> None:
    locale = written(tmp_path, RACKS)
    assert [locale.node(number).name for number in range(1, 8)] == ["login1", *(f"n{i}" for i in range(1, 7))]
    assert locale.node(2) == NodeAddress("n1", "10.0.0.1")
    with pytest.raises(LocaleError, match="has no node 8: its nodes are 1 to 7"):
        locale.node(8)


@pytest.mark.parametrize(
    ("hostname", "id_", "address", "parent"),
    [
        ("node001", 1, "10.0.0.1", Parent("frontend", 6666, is_master=True)),
        ("node002", 1, "10.0.0.2", Parent("10.0.0.1", 6666, name="node001")),
        ("node020", 19, "10.0.0.20", Parent("10.0.0.1", 6666, name="node001")),
        ("node021.lab.org", 2, "10.0.0.21", Parent("frontend", 6666, is_master=True)),
        ("node400", 19, "10.0.1.144", Parent("10.0.1.125", 6666, name="node381")),
    ],
)
def test_a_pattern_is_cut_into_racks(tmp_path: Path, hostname: str, id_: int, address: str, parent: Parent) -> None:
    placement = written(tmp_path, PATTERN).place(Role.SLAVE, hostname, Options())
    assert placement == Placement(id=id_, address=address, parent=parent)


@given(st.integers(1, 120), st.integers(1, 12), st.integers(1, 1000))
def test_a_pattern_gives_every_node_one_place_below_the_fan_out(count: int, fan_out: int, first: int) -> None:
    cluster = PatternFile("front", "n{}", last=first + count - 1, fan_out=fan_out, first=first)
    names = [cluster.name(number) for number in range(first, first + count)]
    children: dict[str | None, list[int]] = {}
    for name in names:
        position = cluster.position(name)
        assert position is not None
        # A parent's number is below its children's, so there is no ring.
        assert position.parent is None or names.index(position.parent) < names.index(name)
        children.setdefault(position.parent, []).append(position.id)
    for ids in children.values():
        assert ids == list(range(1, len(ids) + 1)) and len(ids) <= fan_out


def test_a_large_pattern_costs_nothing() -> None:
    cluster = PatternFile("front", "n{}", last=9_999_999_999, fan_out=2)
    position = cluster.position("n9999999999")
    assert position is not None and position.parent is not None


def test_nodes_of_a_pattern_have_their_own_numbers(tmp_path: Path) -> None:
    locale = written(tmp_path, 'master = "m"\npattern = "r-{}.lab"\nfirst = 5\nlast = 6\nfan_out = 3\n')
    assert locale.node(5) == NodeAddress("r-5.lab", "")
    with pytest.raises(LocaleError, match="has no node 4: its nodes are 5 to 6"):
        locale.node(4)
    assert locale.place(Role.SLAVE, "r-6.lab", Options()).id == 2


@pytest.mark.parametrize("text", [RACKS, PATTERN])
def test_a_master_may_have_any_name_and_a_slave_may_not(tmp_path: Path, text: str) -> None:
    locale = written(tmp_path, text)
    assert locale.place(Role.MASTER, "anything", Options()).parent is None
    for stranger in ("frontend", "node401", "node1", "n7", "node000"):
        with pytest.raises(LocaleError, match=rf"host name '{stranger}' does not fit .*cluster.toml: expected one"):
            locale.place(Role.SLAVE, stranger, Options())


def test_switches_override_the_file(tmp_path: Path) -> None:
    said = Options(parent="other:7000", id="9", address="192.168.0.1")
    placement = written(tmp_path, RACKS).place(Role.SLAVE, "n2", said)
    assert placement == Placement(id=9, address="192.168.0.1", parent=Parent("other", 7000))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the key master is missing"),
        ('master = "m"', "expected `nodes`, [[rack]] or `pattern`"),
        ("master = ", "Invalid value"),
        ("master = 5\nnodes = ['a']", "master: a text is wanted, and this is a whole number"),
        ('master = "m"\n[[rack]]\nnodes = ["a"]', "rack[0]: the key head is missing"),
        ('master = "m"\nnode = ["a"]', "there is no key node; did you mean nodes?"),
        ('master = "m"\nnodes = ["a", "a"]', "node 'a' is listed twice"),
        ('master = "m"\nnodes = ["a"]\n[addresses]\nb = "10.0.0.1"', "'b' is neither a node nor the master"),
        ('master = "a b"\nnodes = ["a"]', "master 'a b': this is no name of a host"),
        ('master = "m"\nnodes = ["a", "b\\n"]', r"node 'b\n': this is no name of a host"),
        ('master = "m"\n[[rack]]\nhead = "10.0.0.999"', "node '10.0.0.999': this is no name of a host"),
        ('master = "m"\nnodes = ["a"]\n[addresses]\na = "10.0.0.999"', "a: '10.0.0.999' is neither an address nor"),
        ('master = "m"\nnodes = ["a"]\n[addresses]\na = "fe80::x"', "a: 'fe80::x' is neither an address nor"),
        ('master = "m"\npattern = "n {}"\nlast = 9\nfan_out = 2', "pattern 'n 1': this is no name of a host"),
        ('master = "m"\npattern = "n{}"\nlast = 9', "the key fan_out is missing"),
        ('master = "m"\npattern = "n{}"\nlast = 9\nfan_out = 0', "fan_out: at least 1 is wanted"),
        (
            'master = "m"\npattern = "n{}"\nlast = 1\nfirst = 2\nfan_out = 2',
            "last = 1: expected at least first = 2",
        ),
        ('master = "m"\npattern = "n{}"\nlast = 9\nfan_out = 2\nfirst_address = "x"', "first_address = 'x'"),
        (
            'master = "m"\npattern = "n{}"\nlast = 9\nfan_out = 2\nfirst_address = "255.255.255.254"',
            "first_address = '255.255.255.254'",
        ),
        *(
            (f'master = "m"\npattern = "{pattern}"\nlast = 9\nfan_out = 2', "expected one {} or {:0N}")
            for pattern in ("n", "n{", "n}", "n{}{}", "{0}", "n{:3}", "n{:099999}", "n{.real}", "n{!r}")
        ),
        (f'master = "m"\nlast = {"9" * 5000}', "this is not TOML"),
    ],
)
def test_the_error_for_a_bad_file_has_its_name_the_key_and_the_expected_value(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(LocaleError) as caught:
        written(tmp_path, text)
    assert str(caught.value).startswith(f"locale file {tmp_path}/cluster.toml: ")
    assert expected in str(caught.value)


def test_addresses_of_both_kinds_and_names_are_good(tmp_path: Path) -> None:
    addresses = {"a": "10.0.0.1", "b": "fe80::1%eth0", "c": "::1", "d": "node-7.example.org"}
    table = "".join(f'{name} = "{address}"\n' for name, address in addresses.items())
    written(tmp_path, f'master = "m"\nnodes = ["a", "b", "c", "d"]\n[addresses]\n{table}')


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocaleError, match=r"none\.toml: cannot be read: No such file"):
        load(str(tmp_path / "none.toml"))
    with pytest.raises(LocaleError, match=r"zero: has more than 16 MiB"):
        load("/dev/zero")
    (tmp_path / "latin1.toml").write_bytes(b'master = "\xe9"')
    with pytest.raises(LocaleError, match=r"latin1\.toml"):
        FileLocale.read(str(tmp_path / "latin1.toml"))


@pytest.mark.parametrize("text", [RACKS, PATTERN])
def test_a_file_can_have_groups_which_are_told_as_they_are(tmp_path: Path, text: str) -> None:
    assert getattr(written(tmp_path, text), "groups", None) == {}
    grouped = written(tmp_path, f"{text}\n[groups]\ngpu = 'n[2-3],n6'\n")
    assert getattr(grouped, "groups", None) == {"gpu": "n[2-3],n6"}
    with pytest.raises(LocaleError, match="groups"):
        written(tmp_path, f"{text}\n[groups]\ngpu = ['n2']\n")
