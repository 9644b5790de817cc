"""A slave that was started before the master of its machine took the master's port, and answered its own calls."""

from __future__ import annotations

import errno
import socket
from typing import Any, cast

import pytest

from gproc.addresses import answers_for, bracketed, is_own
from gproc.cli.node_options import DEFAULT_CMD_PORT
from gproc.cli.slave import listen
from gproc.errors import GprocError


class Ports:
    """Takes the place of `Children`.  taken: ports that others listen on."""

    def __init__(self, *taken: int) -> None:
        self.taken = taken
        self.port = -1

    def listen(self, _: str, port: int) -> None:
        if port in self.taken:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        self.port = port


def port_of(ports: Ports, port: int, parents: int = 0) -> int:
    listen(cast(Any, ports), "", port, parents=parents)
    return ports.port


def test_the_port_of_a_parent_on_this_machine_is_left_to_it_before_it_listens() -> None:
    assert port_of(Ports(), DEFAULT_CMD_PORT, parents=DEFAULT_CMD_PORT) == 0
    with pytest.raises(GprocError, match="port 7000 is that of the parent on this machine: choose another"):
        port_of(Ports(), 7000, parents=7000)


def test_the_usual_port_is_taken_if_it_is_nobodys() -> None:
    assert port_of(Ports(), DEFAULT_CMD_PORT) == DEFAULT_CMD_PORT
    assert port_of(Ports(), DEFAULT_CMD_PORT, parents=7000) == DEFAULT_CMD_PORT
    assert port_of(Ports(DEFAULT_CMD_PORT), DEFAULT_CMD_PORT) == 0
    assert port_of(Ports(), 0, parents=0) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", socket.gethostname()])
def test_this_machine_is_known(host: str) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert is_own(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "no-such-host.invalid", "10.1.254.253"])
def test_other_machines_are_others(host: str) -> None:
    assert not is_own(host)


def test_the_same_port_of_another_address_of_this_machine_is_another() -> None:
    assert answers_for("127.0.0.6", "127.0.0.6")
    assert answers_for("", "127.0.0.6")
    assert answers_for("127.0.0.1", "localhost")
    assert not answers_for("127.0.0.2", "127.0.0.6")
    assert not answers_for("", "192.0.2.1")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("127.0.0.1:7", "127.0.0.1:7"), ("kn1:7", "kn1:7"), ("::1:7", "[::1]:7"), ("[::1]:7", "[::1]:7"),
        ("fe80::1%eth0:7", "[fe80::1%eth0]:7"), (":7", ":7"), ("", ""),
    ],
)  # fmt: skip
def test_where_an_address_ends_and_its_port_begins(address: str, shown: str) -> None:
    assert bracketed(address) == shown
