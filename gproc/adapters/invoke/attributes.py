"""The attributes of JOB_CREATE: lines to one value, or one reason why not.  Pure.

An attribute that may come once may be repeated with the same value: Ninf-G's Java client sends work_directory twice.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeVar

import msgspec

from gproc.adapters.invoke.protocol import Attribute
from gproc.request.limits import CPUS_MAX, PROCS_MAX

COUNT_MAX: Final = 10_000
"""Executables of one request.  Each of them connects to its client, which has one descriptor for each."""

NUMBER_MAX: Final = 1 << 40
"""Above any number that these attributes can mean."""

MINUTES_MAX: Final = 10_000_000
"""Nineteen years.  A request of gproc's takes up to 10**9 seconds."""

MANDATORY: Final = (
    "hostname", "port", "client_name", "executable_path", "backend", "count", "staging", "redirect_enable",
    "status_polling", "refresh_credential",
)  # fmt: skip
"""The manual has `argument` among them.  An executable without arguments has no such line."""

REPEATABLE: Final = frozenset({"argument", "environment", "rsl_extensions", "gproc_file", "gproc_mpi_option"})

LENIENT: Final = frozenset({"min_memory"})
"""May have two values: Ninf-G's Java client sends max_memory under this name."""

WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "jobmanager": "gproc starts the job itself",
    "queue_name": "gproc has no queues",
    "project": "gproc has no accounts",
    "subject": "gproc's nodes have certificates of their own",
    "gass_url": "output is written to stdout_file and stderr_file",
    "rsl_extensions": "gproc does not read RSL",
    "tmp_dir": "no temporary files are made",
    "min_memory": "gproc does not choose nodes by memory",
    "auth_number": "STAGING_AUTH_NUMBER is not offered",
    "communication_proxy_staging": "STAGING_COMMUNICATION_PROXY is not offered",
    "communication_proxy_path": "STAGING_COMMUNICATION_PROXY is not offered",
}
"""Attributes of the manual that change nothing here, and why.  The log names them."""


OPTIONS: Final = frozenset(
    {
        "gproc_nodes", "gproc_file", "gproc_max_procs", "gproc_cpus", "gproc_nice", "gproc_mpirun", "gproc_mpi_option",
        "gproc_reasons",
    }
)  # fmt: skip
"""Our own, for `option` and `invoke_server_option` in a client's configuration: docs/invoke-server.md."""

Backend = Literal["NORMAL", "MPI", "BLACS"]

BACKENDS: Final[tuple[Backend, ...]] = ("NORMAL", "MPI", "BLACS")

T = TypeVar("T")


class BadAttribute(ValueError):
    """A JOB_CREATE that cannot be carried out.  The text is one clause for the client."""


class Redirect(msgspec.Struct, frozen=True):
    """Files of this machine that take the executables' output."""

    stdout: str
    stderr: str


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """What a client wants to run.

    environment: beside the client's own, or alone if `clean`.  stdin_file: what every process reads; None: nothing.
    executable: a path on the node, or with `staging` on this machine.  count: how many processes; with MPI how many
    ranks.  host_count: the most nodes to use; None: any number.  work_directory: on the node; None: the executable's
    own, or with `staging` the job's private one.  time_limit_s, cpu_limit_s: by the clock and by the processor.
    nodes: a node specification that is used instead of hostname and port; None: there is none.
    files: go along with a staged executable.  mpirun, mpi_options: starts programs of MPI, with these words besides.
    reasons: whether STATUS_NOTIFY says why.
    ignored: attributes that were given and change nothing, each with the reason.
    """

    hostname: str
    port: int
    executable: str
    backend: Backend
    count: int
    staging: bool
    arguments: tuple[str, ...]
    environment: dict[str, str]
    clean: bool = False
    stdin_file: str | None = None
    redirect: Redirect | None
    work_directory: str | None
    host_count: int | None
    time_limit_s: float | None
    cpu_limit_s: int | None
    mem_bytes: int | None
    nodes: str | None
    files: tuple[str, ...]
    max_procs: int | None
    cpus: int | None
    nice: int | None
    mpirun: str
    mpi_options: tuple[str, ...]
    reasons: bool
    ignored: tuple[str, ...]

    @property
    def directory(self) -> str | None:
        """The directory of the node in which it starts; None: the job's private one."""
        return self.work_directory or (None if self.staging else posixpath.dirname(self.executable))


def invocation_of(attributes: Sequence[Attribute]) -> Invocation:
    """Raises: BadAttribute."""
    given = _Given(attributes)
    backend: Backend = given.one_of("backend", BACKENDS)
    staging = given.flag("staging")
    files = tuple(given.all("gproc_file"))
    if files and not staging:
        raise BadAttribute("gproc_file needs 'staging true': nothing is sent along with an executable of the node")
    limits = [given.number(name, at_least=0, at_most=MINUTES_MAX) for name in ("max_time", "max_wall_time")]
    minutes = min((limit for limit in limits if limit), default=None)
    return Invocation(
        hostname=given.text("hostname"),
        port=given.number("port", at_least=0, at_most=65535) or 0,
        executable=given.text("executable_path"),
        backend=backend,
        count=given.number("count", at_least=1, at_most=COUNT_MAX) or 1,
        staging=staging,
        arguments=tuple(given.all("argument")),
        environment=dict(map(_variable, given.all("environment"))),
        redirect=_redirect(given),
        work_directory=given.get("work_directory") or None,
        host_count=given.number("host_count", at_least=0) or None,
        time_limit_s=None if minutes is None else minutes * 60.0,
        cpu_limit_s=_scaled(given.number("max_cpu_time", at_least=0, at_most=MINUTES_MAX), 60),
        mem_bytes=_scaled(given.number("max_memory", at_least=0), 1 << 20),
        nodes=given.get("gproc_nodes"),
        files=files,
        max_procs=given.number("gproc_max_procs", at_least=1, at_most=PROCS_MAX),
        cpus=given.number("gproc_cpus", at_least=1, at_most=CPUS_MAX),
        nice=given.number("gproc_nice", at_least=-20, at_most=19),
        mpirun=given.get("gproc_mpirun") or "mpirun",
        mpi_options=tuple(given.all("gproc_mpi_option")),
        reasons=given.get("gproc_reasons") is not None and given.flag("gproc_reasons"),
        ignored=given.ignored(),
    )


class _Given:
    """The attributes of one request by name."""

    def __init__(self, attributes: Sequence[Attribute]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in attributes:
            if "\0" in value:
                raise BadAttribute(f"{name} has a null byte")
            self._values.setdefault(name, []).append(value)
        self._check_names()

    def _check_names(self) -> None:
        missing = [name for name in MANDATORY if name not in self._values]
        if missing:
            raise BadAttribute(f"missing: {', '.join(missing)}")
        for name, values in self._values.items():
            if name.startswith("gproc_") and name not in OPTIONS:
                raise BadAttribute(f"gproc has no option {name!r}: {', '.join(sorted(OPTIONS))}")
            known = name in KNOWN and name not in REPEATABLE | LENIENT
            if known and len({value.strip() for value in values}) > 1:
                raise BadAttribute(f"{name} is there {len(values)} times, with different values")

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def get(self, name: str) -> str | None:
        values = self._values.get(name)
        return values[0].strip() if values else None

    def text(self, name: str) -> str:
        value = self.get(name)
        if not value:
            raise BadAttribute(f"{name} has no value")
        return value

    def one_of(self, name: str, words: tuple[T, ...]) -> T:
        value = self.text(name)
        for word in words:
            if value == word:
                return word
        raise BadAttribute(f"{name} is {value!r}, and can be {', '.join(map(str, words))}")

    def flag(self, name: str) -> bool:
        return self.one_of(name, ("true", "false")) == "true"

    def number(self, name: str, *, at_least: int, at_most: int = NUMBER_MAX) -> int | None:
        value = self.get(name)
        if value is None:
            return None
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) <= 20 and at_least <= int(value) <= at_most:
            return int(value)
        raise BadAttribute(f"{name} is {value[:40]!r}, and must be a number from {at_least} to {at_most}")

    def ignored(self) -> tuple[str, ...]:
        told = [f"{name}: {why}" for name, why in WITHOUT_EFFECT.items() if name in self._values]
        return (*told, *(f"{name}: unknown" for name in self._values if name not in KNOWN))


KNOWN: Final = frozenset(
    {*MANDATORY, *REPEATABLE, *WITHOUT_EFFECT, *OPTIONS}
    | {"work_directory", "stdout_file", "stderr_file", "max_time", "max_wall_time", "max_cpu_time", "max_memory"}
    | {"host_count"}
)


def _redirect(given: _Given) -> Redirect | None:
    if not given.flag("redirect_enable"):
        return None
    files = [given.get(name) for name in ("stdout_file", "stderr_file")]
    if not files[0] or not files[1]:
        raise BadAttribute("redirect_enable is true, so stdout_file and stderr_file are needed")
    return Redirect(files[0], files[1])


def _variable(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name:
        raise BadAttribute(f"environment {text[:40]!r} has no name")
    return name, value


def _scaled(value: int | None, factor: int) -> int | None:
    """0 is the clients' word for "no limit"."""
    return value * factor if value else None
