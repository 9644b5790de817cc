"""What a configuration means: the file's entries and the switches become one value that is not checked again.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gproc.adapters.gfork.access import Access, network_of
from gproc.adapters.gfork.grammar import Block, ConfigLine, ConfigurationError, Parsed, Warned
from gproc.adapters.gfork.keys import ALIASES, REFUSED, Kind, key_called, suggestion_for
from gproc.adapters.gfork.values import DEFAULT_INSTANCES, VALUES, WORDS
from gproc.errors import UsageError

DEFAULT_CROWDED: Final = b"421 Too busy!\r\n"

KEPT: Final = (
    "X509_CERT_DIR", "X509_USER_PROXY", "GRIDMAP", "GLOBUS_HOSTNAME", "GLOBUS_TCP_PORT_RANGE", "X509_USER_CERT",
    "X509_USER_KEY",
)  # fmt: skip
"""Variables of gfork that servers and masters always have, as below Globus' gfork."""


class MasterProgram(msgspec.Struct, frozen=True):
    """uid: None for the user of gfork."""

    program: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    uid: int | None


class ServiceSettings(msgspec.Struct, frozen=True):
    """port: None if the file does not say it.  instances, per_source: None for no limit.  nice: None for gfork's own.

    environment: NAME=VALUE, in the order of the file.  passed: names of variables that are gfork's own.
    """

    name: str
    server: str
    server_args: tuple[str, ...] = ()
    port: int | str | None = None
    bind: str | None = None
    instances: int | None = DEFAULT_INSTANCES
    per_source: int | None = None
    crowded: bytes = DEFAULT_CROWDED
    access: Access = Access()
    user: str | None = None
    group: str | None = None
    has_groups: bool = False
    umask: int | None = None
    nice: int | None = None
    environment: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    masters: tuple[MasterProgram, ...] = ()
    log_level: int = 1
    log_file: str | None = None
    quiet: bool = False
    backends: str | None = None
    local_bin: bool = False


class Configured(msgspec.Struct, frozen=True):
    """backend: the file's second service, if `backends` says where it runs."""

    settings: ServiceSettings
    warnings: tuple[Warned, ...]
    backend: Block | None = None


class NoServer(UsageError):
    """Neither the file nor the command line names a program."""


def settings_of(file: Parsed, switches: Sequence[ConfigLine] = ()) -> Configured:
    """The first service of the file, over what its `defaults` say, below what the switches say.

    Lists of the command line come before the file's, as in Globus' gfork.
    Raises: ConfigurationError for a value that cannot be; NoServer.
    """
    services = [block for block in file.blocks if block.kind == "service"]
    entries = [entry for block in file.blocks if block.kind == "defaults" for entry in block.entries]
    entries += services[0].entries if services else ()
    reading = _Reading(services[0].name if services else "")
    for entry in (*_lists(switches), *entries, *_scalars(switches)):
        reading.take(entry)
    settings = reading.settings()
    used = 1 if settings.backends is None else 2
    warnings = (*file.warnings, *reading.warnings, *(Warned(each.origin, _ONE_SERVICE) for each in services[used:]))
    if settings.backends is None:
        return Configured(settings, warnings)
    if len(services) < 2:
        raise NoServer("backends: the file needs a second service, which says what the nodes run")
    return _with_backend(Configured(settings, warnings, services[1]), services[1])


def _with_backend(configured: Configured, backend: Block) -> Configured:
    reading = _Reading(backend.name)
    for entry in backend.entries:
        reading.take(entry)
    reading.settings()
    return msgspec.structs.replace(configured, warnings=(*configured.warnings, *reading.warnings))


_ONE_SERVICE: Final = "gfork runs one service; this one needs a gfork and a file of its own"


def _lists(switches: Sequence[ConfigLine]) -> list[ConfigLine]:
    return [switch for switch in switches if _is_list(switch)]


def _scalars(switches: Sequence[ConfigLine]) -> list[ConfigLine]:
    return [switch for switch in switches if not _is_list(switch)]


def _is_list(entry: ConfigLine) -> bool:
    key = key_called(entry.key)
    return key is not None and (key.kind is Kind.WORDS or key.name in ("master", "master-uid"))


class _Reading:
    """Entries, one after the other."""

    def __init__(self, service: str) -> None:
        self.warnings: list[Warned] = []
        self._service = service
        self._found: dict[str, Any] = {}
        self._words: dict[str, list[str]] = {}
        self._masters: list[MasterProgram] = []
        self._master: str | None = None
        self._master_uid: int | None = None

    def take(self, entry: ConfigLine) -> None:
        if reason := REFUSED.get(entry.key):
            raise ConfigurationError(entry.origin.at(entry.key_column), f"{reason}: {entry.key} cannot be kept")
        key = key_called(entry.key)
        if key is None:
            reason = f"there is no key {entry.key}; the line has no effect{suggestion_for(entry.key)}"
            self.warnings.append(Warned(entry.origin.at(entry.key_column), reason))
        elif key.name == "flags" and "NAMEINARGS" in entry.value.split():
            raise ConfigurationError(entry.origin, "NAMEINARGS is not kept: server_args begin without the program")
        elif key.kind is Kind.WORDS:
            self._take_words(key.name, entry)
        elif key.kind is Kind.TEXT:
            self._take_text(ALIASES.get(key.name, key.name), entry)

    def _take_words(self, name: str, entry: ConfigLine) -> None:
        words = entry.words()
        check = WORDS.get(name)
        for word in words:
            try:
                if check is not None:
                    check(word)
            except ValueError as error:
                raise ConfigurationError(entry.origin, f"{name}: {error}") from error
        held = self._words.setdefault(name, [])
        if entry.operator == "-=":
            self._words[name] = [word for word in held if word not in words]
            return
        if held and entry.operator == "=" and entry.origin.line:
            self.warnings.append(Warned(entry.origin, f"{name} is added to the lines before, as by +="))
        held += words

    def _take_text(self, name: str, entry: ConfigLine) -> None:
        if entry.operator != "=":
            raise ConfigurationError(entry.origin.at(entry.key_column), f"{name} is one value: write {name} = VALUE")
        try:
            value = VALUES[name](entry.value)
        except ValueError as error:
            raise ConfigurationError(entry.origin, f"{name}: {error}") from error
        if name == "master":
            self._end_master()
            self._master = value
        elif name == "master-uid":
            self._master_uid = value
        else:
            self._found[name] = value

    def _end_master(self) -> None:
        """A master has the arguments and the environment of the lines before the next one, which begins without."""
        if self._master is not None:
            self._masters.append(self._program(self._master))
            self._words.pop("env", None)
            self._words.pop("master_args", None)
            self._master_uid = None

    def _program(self, master: str) -> MasterProgram:
        words = self._words
        return MasterProgram(
            master, tuple(words.get("master_args", ())), tuple(words.get("env", ())), self._master_uid
        )

    def settings(self) -> ServiceSettings:
        if self._master is not None:
            self._masters.append(self._program(self._master))
        found = {_FIELDS.get(key, key): value for key, value in self._found.items() if key not in _SPENT}
        if "server" not in found:
            raise NoServer("no program is named: write `server = PATH` into the file, or -s PATH")
        words = {key: tuple(words) for key, words in self._words.items()}
        only_from = tuple(map(network_of, words["only_from"])) if "only_from" in words else None
        return ServiceSettings(
            name=self._found.get("id") or self._service or found["server"].rpartition("/")[2],
            server_args=words.get("server_args", ()),
            environment=words.get("env", ()),
            passed=words.get("passenv", ()),
            masters=tuple(self._masters),
            access=Access(only_from, tuple(map(network_of, words.get("no_access", ())))),
            **found,
        )


_FIELDS: Final = {"groups": "has_groups"}
_SPENT: Final = ("id", "protocol", "socket_type", "wait", "disable", "config_file")
"""Keys whose value was only to be checked, or is read before all others."""
