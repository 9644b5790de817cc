"""Locales: the rules that give a node its id, its address and its parent.

A locale takes a role, a host name and what the person said, and gives a `Placement`.  It opens no connection,
changes nothing and is trusted: it runs with the rights of the slave, and it says whom the slave will obey.

To write one, make a class whose instances have the two methods of `Locale` and that is made without arguments:

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

and name it in your package's pyproject.toml; `gproc -locale=lab s` then finds it where both are installed:

    [project.entry-points."gproc.locales"]
    lab = "yourpackage.lab:Lab"
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol, runtime_checkable

import msgspec

from gproc.errors import LocaleError
from gproc.nodespec import MAX_DIGITS

DEFAULT_PORT: Final = 6666
"""TCP port on which masters and rack masters listen, where -cmdport says nothing: the original's."""

ENTRY_POINTS: Final = "gproc.locales"

SHIPPED: Final = {
    "local": "gproc.locales.local:Local",
    "kane": "gproc.locales.kane:Kane",
    "kf": "gproc.locales.kane:Kf",
    "strongbox": "gproc.locales.strongbox:Strongbox",
    "etchosts": "gproc.locales.etchosts:EtcHosts",
}
"""The entry points of our own pyproject.toml again: to read those of all packages takes longer than to start."""


class Role(Enum):
    MASTER = "master"
    SLAVE = "slave"


class Parent(msgspec.Struct, frozen=True):
    """Whom a slave dials, and who must answer there.

    host: an address, or a name to be resolved.
    name: the node whose certificate is expected.  None: the master's if is_master, else that of the node or
        master that goes by `host`.
    is_master: the locale knows that this is the master; False says nothing where name is None.
    """

    host: str
    port: int
    name: str | None = None
    is_master: bool = False

    @classmethod
    def parse(cls, text: str, *, default_port: int) -> Parent:
        """What -myParent says: HOST, HOST:PORT, an IPv6 address or [IPv6 address]:PORT.

        Raises: LocaleError naming the text and what is wrong with it.
        """
        bracketed = text.startswith("[") and "]" in text
        if bracketed:
            host, _, rest = text[1:].partition("]")
            colon, port = rest[:1], rest[1:]
        elif text.count(":") > 1:
            host, colon, port = text, "", ""
        else:
            host, colon, port = text.partition(":")
        if colon not in ("", ":") or not _is_host(host, ipv6=bracketed or ":" in host):
            raise LocaleError(f"parent {text!r}: wanted HOST, HOST:PORT or [IPv6 address]:PORT")
        if not colon:
            return cls(host, default_port)
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
            raise LocaleError(f"parent {text!r}: the port is not a number from 1 to 65535")
        return cls(host, int(port))


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where a machine stands.

    id: the last number of the node's path; None: its parent gives it one.  The master has none.
    address: where others reach this machine; "" where the locale cannot know: then its parent knows, who
        sees from where it is called.  Not what to listen on.
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
    """What the person said: -myParent, -myId and -myAddress, evaluated (None: not given), and -cmdport.

    The first three are switches of slaves: a master has no parent and no id.
    """

    parent: str | None = None
    id: str | None = None
    address: str | None = None
    cmd_port: int = DEFAULT_PORT

    def override(self, placement: Placement) -> Placement:
        """placement with what the person said in place of what the locale did.

        A parent that a person names may be the master or any node.
        Raises: LocaleError for a parent or an id that is none.
        """
        return Placement(
            id=placement.id if self.id is None else _parse_id(self.id),
            address=placement.address if self.address is None else self.address,
            parent=placement.parent if self.parent is None else self.stated_parent(self.parent),
        )

    def stated_parent(self, text: str) -> Parent:
        return Parent.parse(text, default_port=self.cmd_port)


@runtime_checkable
class Locale(Protocol):
    """What gproc asks of a locale.  Both methods raise LocaleError, in one sentence, for what does not fit."""

    def place(self, role: Role, hostname: str, options: Options) -> Placement:
        """Where the machine called hostname stands.  A master may have any name.

        -myParent, -myId and -myAddress win over the locale's own idea, unless it documents another use.
        """

    def node(self, number: int) -> NodeAddress:
        """The machine that is started as number; numbers are the locale's own and start at 1."""


def load(name: str) -> Locale:
    """The locale called name: a shipped one, a TOML file (it ends in .toml or has a "/"), or a third party's.

    Raises: LocaleError naming the locales there are, or what is wrong with the one there is.
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
        raise LocaleError(f"locale {name!r}: {locale!r} has not the methods place and node")
    return locale


def host_number(locale: str, hostname: str, *, prefix: str, highest: int) -> int:
    """N of a host called prefix and N, with or without a domain, from 1 to highest.

    Raises: LocaleError naming host, locale and the form wanted.
    """
    label, _, _ = hostname.partition(".")
    digits = label.removeprefix(prefix)
    if label.startswith(prefix) and digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS:
        number = int(digits)
        if 1 <= number <= highest and str(number) == digits:
            return number
    raise LocaleError(f"host name {hostname!r} does not fit locale {locale}: wanted {prefix}N, N from 1 to {highest}")


def check_number(locale: str, number: int, *, lowest: int = 1, highest: int) -> None:
    """Raises: LocaleError where locale has no node of that number."""
    if not lowest <= number <= highest:
        raise LocaleError(f"locale {locale} has no node {number}: its nodes are {lowest} to {highest}")


def _is_host(host: str, *, ipv6: bool) -> bool:
    """Whether host can be dialled: an IPv6 address, with or without a zone, or anything a name is made of."""
    if not ipv6:
        return host != "" and all(c.isalnum() or c in "-._" for c in host)
    from socket import AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6, host.partition("%")[0])
    except OSError:
        return False
    return True


def _parse_id(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text) > 0:
        return int(text)
    raise LocaleError(f"id {text!r}: wanted a number from 1, of at most {MAX_DIGITS} digits")


def _third_party(name: str) -> object:
    # 25 ms to import on our 2-core machine, more than half of a slave's other imports together.
    from importlib.metadata import entry_points

    found = entry_points(group=ENTRY_POINTS)
    if name not in found.names:
        known = ", ".join(sorted(found.names | set(SHIPPED)))
        raise LocaleError(f"there is no locale {name!r}; known: {known}, or a TOML file such as ./cluster.toml")
    entry = found[name]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise LocaleError(f"locale {name!r}: cannot load {entry.value}: {error}") from error
