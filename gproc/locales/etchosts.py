"""Locale etchosts: a flat network of the hosts in /etc/hosts.

A node is any host whose name ends in a number, and that number is its id.  The host `master` is the master.
Loopback addresses are ignored, because Debian lists a host's own name at 127.0.1.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gproc.boxes import MAX_DIGITS
from gproc.errors import LocaleError
from gproc.locales import NodeAddress, Options, Parent, Placement, Role
from gproc.shown import quoted_text

HOSTS_FILE: Final = "/etc/hosts"
MASTER: Final = "master"


class EtcHosts:
    def __init__(self, path: str = HOSTS_FILE) -> None:
        """Raises: LocaleError if the path cannot be read."""
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError as error:
            raise LocaleError(f"locale etchosts: cannot read {path}: {error.strerror}") from error
        self._path = path
        self._addresses: dict[str, str] = {}
        for name, address in parse_hosts(text):
            self._addresses.setdefault(name, address)

    def place(self, role: Role, hostname: str, options: Options) -> Placement:
        if role is Role.MASTER:
            return options.override(Placement(address=self._addresses.get(MASTER, "")))
        number = trailing_number(hostname)
        if number is None:
            raise LocaleError(
                f"host name {quoted_text(hostname)} does not fit locale etchosts: "
                "expected a name that ends in a number from 1"
            )
        address = "" if options.address is not None else self._address(hostname, "-myAddress=ADDRESS")
        parent = None
        if options.parent is None:
            parent = Parent(self._address(MASTER, "-myParent=HOST"), options.cmd_port, is_master=True)
        return options.override(Placement(id=number, address=address, parent=parent))

    def node(self, number: int) -> NodeAddress:
        found = {name: address for name, address in self._addresses.items() if trailing_number(name) == number}
        if not found:
            raise LocaleError(f"locale etchosts has no node {number}: no name in {self._path} ends in that number")
        if len(set(found.values())) > 1:
            names = ", ".join(found)
            raise LocaleError(f"locale etchosts: several hosts in {self._path} have the number {number}: {names}")
        return NodeAddress(*next(iter(found.items())))

    def _address(self, hostname: str, instead: str) -> str:
        for name in (hostname, hostname.partition(".")[0]):
            if name in self._addresses:
                return self._addresses[name]
        raise LocaleError(
            f"locale etchosts: {self._path} has no address of host {quoted_text(hostname)} except loopback: "
            f"add one or give {instead}"
        )


def parse_hosts(text: str) -> Iterator[tuple[str, str]]:
    """Each name with its address, in the order of the file, without loopback.  Source: hosts(5)."""
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if not address.startswith("127.") and address != "::1":
            for name in names:
                yield name, address


def trailing_number(hostname: str) -> int | None:
    """7 for node7 and for node007.cluster.org; None if no number from 1 is before the domain."""
    label, _, _ = hostname.partition(".")
    digits = label[len(label.rstrip("0123456789")) :]
    return int(digits) or None if 0 < len(digits) <= MAX_DIGITS else None
