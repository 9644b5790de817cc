"""Locales: the rules that give a node its id, its address and its parent.

A locale takes a role, a host name and the user's switches, and returns a `Placement`.  It opens no connection and
changes nothing.  It is trusted: it runs with the rights of the slave, and it names the parent that the slave will obey.

To write one, make a class with the two methods of `Locale` and a constructor without arguments:

    from gproc.locales import NodeAddress, Options, Parent, Placement, Role, host_number

    class Lab:
        def place(self, role: Role, hostname: str, options: Options) -> Placement:
            master = Parent("10.9.0.254", options.cmd_port, is_master=True)
            if role is Role.MASTER:
                return options.override(Placement(address=master.host))
            number = host_number("lab", hostname, prefix="pc", highest=200)    # pc1 ... pc200, or LocaleError
            return options.override(Placement(id=number, address=f"10.9.0.{number}", parent=master))

        def node(self, number: int) -> NodeAddress:
            return NodeAddress(f"pc{number}", f"10.9.0.{number}")

and name it in your package's pyproject.toml.  `gproc -locale=lab s` then finds it if both are installed:

    [project.entry-points."gproc.locales"]
    lab = "yourpackage.lab:Lab"
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol, runtime_checkable

import msgspec

from gproc.boxes import MAX_DIGITS
from gproc.errors import LocaleError, NoSuchLocale, PlacementError
from gproc.shown import quoted_text

DEFAULT_PORT: Final = 6666
"""The TCP port on which masters and rack masters listen if -cmdport is not given: the original's."""

ENTRY_POINTS: Final = "gproc.locales"

SHIPPED: Final = {
    "local": "gproc.locales.local:Local",
    "kane": "gproc.locales.kane:Kane",
    "kf": "gproc.locales.kane:Kf",
    "strongbox": "gproc.locales.strongbox:Strongbox",
    "etchosts": "gproc.locales.etchosts:EtcHosts",
    "slurm": "gproc.locales.slurm:Slurm",
}
"""A copy of the entry points in our own pyproject.toml: reading those of all packages takes longer than starting."""


class Role(Enum):
    MASTER = "master"
    SLAVE = "slave"


class Parent(msgspec.Struct, frozen=True):
    """The node that a slave dials, and the certificate that it expects there.

    host: an address, or a name to be resolved.
    name: the node whose certificate is expected.  None: the master's if is_master, else that of the node or
        master that is named by `host`.
    is_master: the locale knows that this is the master.  If name is None, False means that it is not known.
    """

    host: str
    port: int
    name: str | None = None
    is_master: bool = False

    @classmethod
    def parse(cls, text: str, *, default_port: int) -> Parent:
        """The value of -myParent: HOST, HOST:PORT, an IPv6 address or [IPv6 address]:PORT.

        Raises: LocaleError, which names the text and what is wrong with it.
        """
        bracketed = text.startswith("[") and "]" in text
        if bracketed:
            host, _, rest = text[1:].partition("]")
            colon, port = rest[:1], rest[1:]
        elif text.count(":") > 1:
            host, colon, port = text, "", ""
        else:
            host, colon, port = text.partition(":")
        if colon not in ("", ":") or not is_host(host) or (bracketed and ":" not in host):
            raise LocaleError(f"parent {quoted_text(text)}: expected HOST, HOST:PORT or [IPv6 address]:PORT")
        return cls(host, _parse_port(port, text) if colon else default_port)


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """The place of a machine in the tree.

    id: the last number of the node's path; None if its parent assigns one.  The master has none.
    address: the address at which others reach this machine, not the one to listen on; "" if the locale does not know
        it: then the parent takes the address that the connection comes from.
    parent: None for the master, never None for a slave.
    """

    id: int | None = None
    address: str = ""
    parent: Parent | None = None


class NodeAddress(msgspec.Struct, frozen=True):
    """How to reach a node before a slave runs there: host name, and address ("": resolve the name)."""

    name: str
    address: str


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The user's switches: -myParent, -myId and -myAddress, evaluated (None: not given), and -cmdport.

    The first three are switches of slaves: a master has no parent and no id.
    cmd_port: the port at which a locale's nodes dial their parents: -cmdport, but the usual one if that is 0.
    """

    parent: str | None = None
    id: str | None = None
    address: str | None = None
    cmd_port: int = DEFAULT_PORT

    def override(self, placement: Placement) -> Placement:
        """The placement, with the user's switches in place of the locale's values.

        A parent that a user names may be the master or any node.
        Raises: PlacementError if the parent, the id or the address is malformed.
        """
        if self.address is not None:
            check_address(self.address)
        return Placement(
            id=placement.id if self.id is None else _parse_id(self.id),
            address=placement.address if self.address is None else self.address,
            parent=placement.parent if self.parent is None else self.stated_parent(self.parent),
        )

    def stated_parent(self, text: str) -> Parent:
        """A parent that a user names.  Without a port it has the usual one: -cmdport is the own port of the child."""
        try:
            return Parent.parse(text, default_port=DEFAULT_PORT)
        except LocaleError as error:
            raise PlacementError(str(error)) from error


@runtime_checkable
class Locale(Protocol):
    """What gproc asks of a locale.  Both methods raise LocaleError, with one sentence, if the input does not fit."""

    def place(self, role: Role, hostname: str, options: Options) -> Placement:
        """The place of the machine called hostname.  A master may have any name.

        -myParent, -myId and -myAddress override the locale, unless it documents another use.
        """

    def node(self, number: int) -> NodeAddress:
        """The machine with that number.  Numbers are the locale's own and start at 1."""


def load(name: str) -> Locale:
    """The locale called name: a shipped one, a TOML file (its name ends in .toml or has a "/"), or a third party's.

    Raises: NoSuchLocale, which names the known locales; LocaleError, which says what is wrong with this one.
    """
    if name.endswith(".toml") or "/" in name:
        from gproc.locales.file import FileLocale

        return FileLocale.read(name)
    if name in SHIPPED:
        from importlib import import_module

        module, _, attribute = SHIPPED[name].partition(":")
        factory = getattr(import_module(module), attribute)
    else:
        factory = _third_party(name)
    locale = factory() if callable(factory) else factory
    if not isinstance(locale, Locale):
        raise LocaleError(f"locale {quoted_text(name)}: {locale!r} does not have the methods place and node")
    return locale


def host_number(locale: str, hostname: str, *, prefix: str, highest: int) -> int:
    """The number N, from 1 to highest, of a host called prefix + N, with or without a domain.

    Raises: LocaleError, which names the host, the locale and the expected form.
    """
    label, _, _ = hostname.partition(".")
    digits = label.removeprefix(prefix)
    if label.startswith(prefix) and digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS:
        number = int(digits)
        if 1 <= number <= highest and str(number) == digits:
            return number
    expected = f"expected {prefix}N, N from 1 to {highest}"
    raise LocaleError(f"host name {quoted_text(hostname)} does not fit locale {locale}: {expected}")


def check_number(locale: str, number: int, *, lowest: int = 1, highest: int) -> None:
    """Raises: LocaleError if the locale has no node of that number."""
    if not lowest <= number <= highest:
        raise LocaleError(f"locale {locale} has no node {number}: its nodes are {lowest} to {highest}")


def check_address(address: str) -> None:
    """Raises: PlacementError for what can be neither a host's name nor an address."""
    if address and not is_host(address):
        raise PlacementError(f"address {quoted_text(address)}: the name of a host or an address is wanted")


def is_host(host: str) -> bool:
    """Whether host is an address, of IPv6 with or without a zone, or has only characters of host names."""
    is_ipv6 = ":" in host
    if not is_ipv6 and not all(c.isdigit() or c == "." for c in host):
        return all(c.isalnum() or c in "-._" for c in host)
    from socket import AF_INET, AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6 if is_ipv6 else AF_INET, host.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True


def _parse_port(port: str, parent: str) -> int:
    if port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535:
        return int(port)
    raise LocaleError(f"parent {quoted_text(parent)}: the port is not a number from 1 to 65535")


def _parse_id(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text) > 0:
        return int(text)
    raise PlacementError(f"id {quoted_text(text)}: expected a number from 1, of at most {MAX_DIGITS} digits")


def _third_party(name: str) -> object:
    # The import takes 25 ms on a 2-core machine, more than half as long as all other imports of a slave.
    from importlib.metadata import entry_points

    found = entry_points(group=ENTRY_POINTS)
    if name not in found.names:
        known = ", ".join(sorted(found.names | set(SHIPPED)))
        raise NoSuchLocale(
            f"there is no locale {quoted_text(name)}; known: {known}, or a TOML file such as ./cluster.toml"
        )
    entry = found[name]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise LocaleError(f"locale {quoted_text(name)}: cannot load {entry.value}: {error}") from error
