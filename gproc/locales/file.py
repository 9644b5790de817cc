"""Locale file: a cluster described in TOML, `-locale=./mycluster.toml`; every machine has the same file.

The file describes either racks, inside one another to any depth.  The children of a node are its `nodes` and then the
heads of its racks, with ids from 1 in that order.  `addresses` may be left out; then names are resolved:

    master = "frontend"
    nodes = ["login1"]              # 1

    [[rack]]
    head = "n1"                     # 2
    nodes = ["n2", "n3"]            # 2/1, 2/2

    [[rack.rack]]
    head = "n4"                     # 2/3
    nodes = ["n5"]                  # 2/3/1

    [addresses]
    frontend = "10.0.0.254"
    n1 = "10.0.0.1"

or a pattern and a fan-out.  The nodes, in order, are divided into `fan_out` equal blocks of neighbours.  The first node
of a block is the parent of the others in it, which are divided in the same way.  So 400 nodes with a fan-out of 20 are
20 rack masters, node001, node021, ..., with 19 nodes each:

    master = "frontend"
    pattern = "node{:03}"           # "{}": the number; "{:03}": the number with zeros to three digits
    first = 1                       # 1 if it is left out
    last = 400
    fan_out = 20
    first_address = "10.0.0.1"      # of the first node, the others follow; may be left out

A host's name may have a domain that is not in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from gproc.boxes import MAX_DIGITS
from gproc.errors import LocaleError
from gproc.locales import NodeAddress, Options, Parent, Placement, Role, check_number, is_host
from gproc.shown import quoted_text

_BYTES_MAX: Final = 16 << 20
"""100,000 nodes that are all named take 1.5 MB."""

_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Number = Annotated[int, msgspec.Meta(ge=1, lt=10**MAX_DIGITS)]


class Position(msgspec.Struct, frozen=True):
    """A node's name, its id, and the name of its parent; None is the master."""

    name: str
    id: int
    parent: str | None


class Rack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A head and the nodes below it."""

    head: _Name
    nodes: tuple[_Name, ...] = ()
    rack: tuple[Rack, ...] = ()


class RackFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file with racks.  Its nodes are numbered from 1 in the order of `positions`."""

    master: _Name
    nodes: tuple[_Name, ...] = ()
    rack: tuple[Rack, ...] = ()
    addresses: dict[str, _Name] = {}
    groups: dict[str, _Name] = {}

    def __post_init__(self) -> None:
        _check_name("master", self.master)
        names: set[str] = set()
        for position in self.positions():
            if position.name in names:
                raise ValueError(f"node {position.name!r} is listed twice, expected once")
            _check_name("node", position.name)
            names.add(position.name)
        if not names:
            raise ValueError("no node: expected `nodes`, [[rack]] or `pattern`")
        for name, address in self.addresses.items():
            if name not in names and name != self.master:
                raise ValueError(f"addresses: {name!r} is neither a node nor the master")
            if not is_host(address):
                raise ValueError(f"addresses: {name}: {address!r} is neither an address nor a host's name")

    def positions(self) -> Iterator[Position]:
        yield from _positions(None, self.nodes, self.rack)

    def first_and_last(self) -> tuple[int, int]:
        return 1, sum(1 for _ in self.positions())

    def name(self, number: int) -> str:
        return [position.name for position in self.positions()][number - 1]

    def address(self, name: str) -> str:
        """ "" if the file does not have it."""
        return self.addresses.get(name, "")


class PatternFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file with a pattern.  Everything is computed: a large cluster costs no more than a small one."""

    master: _Name
    pattern: str
    last: _Number
    fan_out: _Number
    first: _Number = 1
    first_address: str | None = None
    groups: dict[str, _Name] = {}

    def __post_init__(self) -> None:
        if not _is_pattern(self.pattern):
            raise ValueError(f"pattern {self.pattern!r}: expected one {{}} or {{:0N}} for the number")
        _check_name("master", self.master)
        _check_name("pattern", self.name(self.first))
        if self.last < self.first:
            raise ValueError(f"last = {self.last}: expected at least first = {self.first}")
        try:
            self.address(self.name(self.last))
        except ValueError as error:
            raise ValueError(f"first_address = {self.first_address!r}: {error}") from error

    def first_and_last(self) -> tuple[int, int]:
        return self.first, self.last

    def position(self, name: str) -> Position | None:
        """None if no node has that name."""
        number = self._number(name)
        if number is None:
            return None
        parent = None
        start, end = self.first, self.last + 1
        while True:
            id_, start, end = _block(number, start, end, self.fan_out)
            if start == number:
                return Position(name, id_, parent)
            parent = self.name(start)
            start += 1

    def name(self, number: int) -> str:
        return self.pattern.format(number)

    def address(self, name: str) -> str:
        """ "" if the file does not have it.  Raises: ValueError if there is no such address after first_address."""
        number = self._number(name)
        if self.first_address is None or number is None:
            return ""
        from ipaddress import ip_address

        return str(ip_address(self.first_address) + (number - self.first))

    def _number(self, name: str) -> int | None:
        before, _, after = self.pattern.partition("{")
        after = after.partition("}")[2]
        digits = name.removeprefix(before).removesuffix(after)
        if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS):
            return None
        number = int(digits)
        return number if self.first <= number <= self.last and self.name(number) == name else None


class FileLocale:
    """One cluster's file; `read` makes it."""

    def __init__(self, path: str, cluster: RackFile | PatternFile) -> None:
        self._path = path
        self._cluster = cluster
        # The master asks for thousands of hosts at a time, in its event loop.
        self._positions = {each.name: each for each in cluster.positions()} if isinstance(cluster, RackFile) else None
        first, last = cluster.first_and_last()
        self._ends = f"{cluster.name(first)} ... {cluster.name(last)}"

    @classmethod
    def read(cls, path: str) -> FileLocale:
        """Raises: LocaleError, which names the file, the key and the expected value."""
        try:
            with open(path, "rb") as file:
                content = file.read(_BYTES_MAX + 1)
        except OSError as error:
            raise LocaleError(f"locale file {path}: cannot be read: {error.strerror}") from error
        if len(content) > _BYTES_MAX:
            raise LocaleError(f"locale file {path}: has more than {_BYTES_MAX >> 20} MiB: is this a locale?")
        return cls.of(path, content)

    @classmethod
    def of(cls, path: str, content: bytes) -> FileLocale:
        """The locale that a file's content describes.  Raises: as `read`."""
        import tomllib

        try:
            keys = tomllib.loads(content.decode("utf-8-sig"))  # as trust.config.toml_of
            kind: type[RackFile | PatternFile] = PatternFile if "pattern" in keys else RackFile
            return cls(path, msgspec.convert(keys, kind))
        except msgspec.ValidationError as error:
            from gproc.locales.fault import fault_in

            tables = {"": kind.__struct_fields__, "rack": Rack.__struct_fields__}
            raise LocaleError(f"locale file {path}: {fault_in(str(error), tables)}") from error
        except UnicodeDecodeError as error:
            raise LocaleError(f"locale file {path}: this is not TOML: it is not UTF-8") from error
        except (ValueError, RecursionError) as error:  # a number of 4,301 digits is no TOMLDecodeError
            raise LocaleError(f"locale file {path}: this is not TOML: {error}") from error

    @property
    def groups(self) -> dict[str, str]:
        """What each group stands for, as NODES has it."""
        return self._cluster.groups

    def first_and_last(self) -> tuple[int, int]:
        """The numbers of its nodes."""
        return self._cluster.first_and_last()

    def place(self, role: Role, hostname: str, options: Options) -> Placement:
        cluster = self._cluster
        if role is Role.MASTER:
            return options.override(Placement(address=cluster.address(cluster.master)))
        found = self._position(hostname) or self._position(hostname.partition(".")[0])
        if found is None:
            raise LocaleError(
                f"host name {quoted_text(hostname)} does not fit locale file {self._path}: expected one of {self._ends}"
            )
        host = found.parent or cluster.master
        parent = Parent(
            cluster.address(host) or host, options.cmd_port, name=found.parent, is_master=found.parent is None
        )
        return options.override(Placement(id=found.id, address=cluster.address(found.name), parent=parent))

    def _position(self, name: str) -> Position | None:
        if self._positions is not None:
            return self._positions.get(name)
        assert isinstance(self._cluster, PatternFile)
        return self._cluster.position(name)

    def node(self, number: int) -> NodeAddress:
        first, last = self._cluster.first_and_last()
        check_number(f"file {self._path}", number, lowest=first, highest=last)
        name = self._cluster.name(number)
        return NodeAddress(name, self._cluster.address(name))


def _check_name(what: str, name: str) -> None:
    """Raises: ValueError, because it is told when the file is read, and not when a node is dialled."""
    if not is_host(name):
        raise ValueError(f"{what} {name!r}: this is no name of a host: letters, digits, '-', '.' and '_' make one")


def _positions(parent: str | None, nodes: tuple[str, ...], racks: tuple[Rack, ...]) -> Iterator[Position]:
    for id_, name in enumerate(nodes, start=1):
        yield Position(name, id_, parent)
    for id_, rack in enumerate(racks, start=len(nodes) + 1):
        yield Position(rack.head, id_, parent)
        yield from _positions(rack.head, rack.nodes, rack.rack)


def _is_pattern(pattern: str) -> bool:
    """Whether there is one {} or {:0N} in it, and no other brace."""
    before, opening, rest = pattern.partition("{")
    form, closing, after = rest.partition("}")
    zeros = len(form) == 3 and form.startswith(":0") and form[2] in "123456789"
    return bool(opening and closing) and (form == "" or zeros) and not any(c in "{}" for c in before + after)


def _block(number: int, start: int, end: int, fan_out: int) -> tuple[int, int, int]:
    """The block with the number, of the blocks that start ... end-1 are divided into: its index from 1, start and end.

    The blocks differ by at most one node; the longer ones come first.
    """
    blocks = min(fan_out, end - start)
    short, longer = divmod(end - start, blocks)
    offset = number - start
    if offset < longer * (short + 1):
        index = offset // (short + 1)
    else:
        index = longer + (offset - longer * (short + 1)) // short
    first = start + index * short + min(index, longer)
    return index + 1, first, first + short + (index < longer)
