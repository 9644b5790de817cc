"""The shipped locales: each gives a node the documented id, address and parent (docs/reference.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import EXIT_USAGE, LocaleError, PlacementError
from gproc.locales import DEFAULT_PORT, Locale, NodeAddress, Options, Parent, Placement, Role, load
from gproc.locales.etchosts import EtcHosts
from gproc.locales.kane import HIGHEST

KANE_MASTER = Parent("10.1.254.254", DEFAULT_PORT, is_master=True)

HOSTS = """
127.0.0.1   localhost
127.0.1.1   node9
::1         localhost6 ip6-loopback
10.5.0.254  front master   # the front end
10.5.0.7    node7 n7
10.5.0.8    node008.lab.org node008
10.5.0.9    node9
10.5.0.10   node10
10.5.0.11   web10
# 10.5.0.12 node12
"""


@pytest.fixture
def etchosts(tmp_path: Path) -> EtcHosts:
    path = tmp_path / "hosts"
    path.write_text(HOSTS)
    return EtcHosts(str(path))


def slave(locale: str, hostname: str, options: Options | None = None) -> Placement:
    return load(locale).place(Role.SLAVE, hostname, options or Options())


@pytest.mark.parametrize(
    ("hostname", "id_", "address", "parent"),
    [
        ("kn1", 1, "10.1.30.1", Parent("10.1.30.20", 6666, name="kn20")),
        ("kn19", 19, "10.1.30.19", Parent("10.1.30.20", 6666, name="kn20")),
        ("kn20", 1, "10.1.30.20", KANE_MASTER),
        ("kn21", 1, "10.1.30.21", Parent("10.1.30.40", 6666, name="kn40")),
        ("kn80", 4, "10.1.30.80", KANE_MASTER),
        ("kn240", 12, "10.1.30.240", KANE_MASTER),
        ("kn241", 1, "10.1.31.1", Parent("10.1.31.20", 6666, name="kn260")),
        ("kn520.sandia.gov", 26, "10.1.32.40", KANE_MASTER),
        ("kn54240", 2712, "10.1.255.240", KANE_MASTER),
    ],
)
def test_kane_is_a_tree_of_racks_of_twenty(hostname: str, id_: int, address: str, parent: Parent) -> None:
    assert slave("kane", hostname) == Placement(id=id_, address=address, parent=parent)


@given(st.integers(1, HIGHEST))
def test_a_kane_parent_is_the_master_or_a_rack_master_at_its_own_address(number: int) -> None:
    kane = load("kane")
    placement = kane.place(Role.SLAVE, f"kn{number}", Options())
    parent = placement.parent
    assert parent is not None
    assert kane.node(number) == NodeAddress(f"kn{number}", placement.address)
    if parent.is_master:
        assert (number % 20, placement.id) == (0, number // 20)
    else:
        assert parent.name is not None
        above = kane.place(Role.SLAVE, parent.name, Options())
        assert (above.address, above.parent) == (parent.host, KANE_MASTER)
        assert above.id is not None and placement.id is not None
        assert (above.id - 1) * 20 + placement.id == number


def test_kf_is_flat() -> None:
    assert slave("kf", "kn47") == Placement(id=47, address="10.1.30.47", parent=KANE_MASTER)


@pytest.mark.parametrize(
    ("hostname", "id_", "parent"),
    [
        ("cn1", 1, Parent("10.0.0.7", 6666, name="cn7")),
        ("cn7", 1, Parent("front", 7000, is_master=True)),
        ("cn8", 1, Parent("10.0.0.14", 6666, name="cn14")),
        ("cn252", 36, Parent("front", 7000, is_master=True)),
    ],
)
def test_strongbox_has_boards_of_seven_below_the_given_master(hostname: str, id_: int, parent: Parent) -> None:
    assert slave("strongbox", hostname, Options(parent="front:7000")) == Placement(
        id=id_, address=f"10.0.0.{hostname[2:]}", parent=parent
    )


def test_a_board_master_of_strongbox_needs_the_master_by_switch() -> None:
    with pytest.raises(LocaleError, match=r"cn7 .*-myParent"):
        slave("strongbox", "cn7")


@pytest.mark.parametrize(
    ("locale", "hostname", "form"),
    [
        ("kane", "foo", "knN, N from 1 to 54240"),
        ("kane", "kn0", "knN"),
        ("kane", "kn54241", "knN"),
        ("kane", "kn020", "knN"),
        ("kane", "kn", "knN"),
        ("kane", "kn2x", "knN"),
        ("kane", "kn²", "knN"),
        ("kane", "12", "knN"),
        ("kf", "cn3", "knN"),
        ("strongbox", "kn3", "cnN, N from 1 to 252"),
        ("strongbox", "cn253", "cnN"),
        ("etchosts", "master", "a name that ends in a number"),
        ("etchosts", "node0", "a name that ends in a number"),
    ],
)
def test_the_error_for_a_host_name_that_does_not_fit_shows_the_form(locale: str, hostname: str, form: str) -> None:
    with pytest.raises(LocaleError) as caught:
        slave(locale, hostname)
    assert str(caught.value).startswith(f"host name {hostname!r} does not fit locale {locale}: expected {form}")


@pytest.mark.parametrize("locale", ["local", "kane", "kf", "strongbox", "etchosts"])
def test_a_master_may_have_any_name(locale: str) -> None:
    placement = load(locale).place(Role.MASTER, "cesspool", Options())
    assert (placement.id, placement.parent) == (None, None)


@pytest.mark.parametrize(("locale", "numbers"), [("kane", [0, 54241]), ("kf", [-1]), ("strongbox", [253])])
def test_a_number_out_of_range_is_not_a_node(locale: str, numbers: list[int]) -> None:
    for number in numbers:
        with pytest.raises(LocaleError, match=f"locale {locale} has no node {number}: its nodes are 1 to"):
            load(locale).node(number)


def test_local_dials_the_master_on_this_machine() -> None:
    assert slave("local", "anything", Options(cmd_port=7001)) == Placement(
        address="127.0.0.1", parent=Parent("127.0.0.1", DEFAULT_PORT, is_master=True)
    )
    assert load("local").node(3) == NodeAddress("localhost", "127.0.0.1")


def test_local_takes_the_given_parent_without_knowing_whether_it_is_the_master() -> None:
    placement = slave("local", "anything", Options(parent="otherhost:7000", id="3"))
    assert placement == Placement(id=3, address="", parent=Parent("otherhost", 7000))


@pytest.mark.parametrize("locale", ["local", "kane", "kf", "etchosts"])
def test_switches_override_the_locale(locale: str, etchosts: EtcHosts) -> None:
    chosen: Locale = etchosts if locale == "etchosts" else load(locale)
    said = Options(parent="kn9", id="77", address="192.168.0.1", cmd_port=7002)
    assert chosen.place(Role.SLAVE, "kn47", said) == Placement(
        id=77, address="192.168.0.1", parent=Parent("kn9", DEFAULT_PORT)
    )


@pytest.mark.parametrize("text", ["0", "-1", "", "x", "1/2", "²", "12345678901"])
def test_an_id_is_a_number_from_one(text: str) -> None:
    with pytest.raises(PlacementError, match="expected a number from 1") as refused:
        slave("local", "anything", Options(id=text))
    assert refused.value.exit_status == EXIT_USAGE


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("front", "front", 6666),
        ("front:7000", "front", 7000),
        ("10.0.0.1:1", "10.0.0.1", 1),
        ("fe80::1", "fe80::1", 6666),
        ("[fe80::1]", "fe80::1", 6666),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
    ],
)
def test_a_parent_is_a_host_and_perhaps_a_port(text: str, host: str, port: int) -> None:
    assert Parent.parse(text, default_port=6666) == Parent(host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":7000", "a b", "x/y", "ssh://front", "front:", "front:0", "front:65536", "front:x", "front:²"),
        *("front:1:2", "[fe80::1", "[fe80::1]7000", "[fe80::1]:", "[front]:1", "[]:1"),
    ],
)
def test_a_malformed_parent_is_refused(text: str) -> None:
    with pytest.raises(LocaleError, match=r"^parent "):
        Parent.parse(text, default_port=6666)
    with pytest.raises(PlacementError, match=r"^parent ") as refused:
        slave("local", "anything", Options(parent=text))
    assert refused.value.exit_status == EXIT_USAGE


def test_etchosts_numbers_nodes_by_their_names(etchosts: EtcHosts) -> None:
    master = Parent("10.5.0.254", 6666, is_master=True)
    for hostname, id_ in (("node7", 7), ("n7.lab.org", 7), ("node008.lab.org", 8), ("node9", 9)):
        placement = etchosts.place(Role.SLAVE, hostname, Options())
        assert placement == Placement(id=id_, address=f"10.5.0.{id_}", parent=master)
    assert etchosts.place(Role.MASTER, "front", Options()) == Placement(address="10.5.0.254")


def test_etchosts_finds_a_node_to_start(etchosts: EtcHosts) -> None:
    assert etchosts.node(7) == NodeAddress("node7", "10.5.0.7")
    with pytest.raises(LocaleError, match=r"no node 12\b.*hosts"):
        etchosts.node(12)
    with pytest.raises(LocaleError, match="node10, web10"):
        etchosts.node(10)


def test_the_error_of_etchosts_names_the_missing_host(etchosts: EtcHosts, tmp_path: Path) -> None:
    with pytest.raises(LocaleError, match=r"no address of host 'node12'.*-myAddress"):
        etchosts.place(Role.SLAVE, "node12", Options())
    (tmp_path / "bare").write_text("10.5.0.7 node7\n")
    with pytest.raises(LocaleError, match=r"no address of host 'master'.*-myParent"):
        EtcHosts(str(tmp_path / "bare")).place(Role.SLAVE, "node7", Options())
    with pytest.raises(LocaleError, match=r"cannot read .*: No such file"):
        EtcHosts(str(tmp_path / "none"))
