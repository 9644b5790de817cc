"""What a command line asks for of the nodes themselves: that they start, end, or take no jobs.  Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from gproc.cli.program_options import DEFAULT_SOCKET

DEFAULT_BIN_ROOT: Final = "/tmp/xproc"
DEFAULT_CMD_PORT: Final = 6666
DEFAULT_FANOUT: Final = 32
DEFAULT_PARALLEL: Final = 16
DEFAULT_CONNECT_TIMEOUT_S: Final = 10.0


class SshOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the modes that reach hosts by ssh do so.  parallel: logins at a time."""

    parallel: int = DEFAULT_PARALLEL
    connect_timeout_s: float = DEFAULT_CONNECT_TIMEOUT_S
    accept_new_host_keys: bool = False
    ssh_command: str = ""


class SlaveStartOptions(SshOptions, frozen=True, kw_only=True):
    """What the modes that start slaves tell them.  address: of the master, as nodes see it; None: by the locale, or the
    one from which ssh reaches them.
    """

    address: str | None = None
    cmd_port: int = DEFAULT_CMD_PORT
    socket: str = DEFAULT_SOCKET
    bin_root: str = DEFAULT_BIN_ROOT
    json: bool = False
    debug: int = 0


class StartOptions(SlaveStartOptions, frozen=True, kw_only=True):
    """`gproc start`.  level: of the tree, in words; () for all.  hosts: a list, not yet expanded.

    low, high: numbers of the locale's nodes; 0: its first and its last.
    """

    level: tuple[str, ...] = ()
    hosts: str = ""
    locale: str = "local"
    low: int = 0
    high: int = 0
    failed: bool = False
    fanout: int = DEFAULT_FANOUT
    foreground: bool = False


class StopOptions(SshOptions, frozen=True, kw_only=True):
    """`gproc stop`.  nodes: a specification, in words; () for the master and the whole tree."""

    nodes: tuple[str, ...] = ()
    socket: str = DEFAULT_SOCKET
    json: bool = False
    debug: int = 0


class RestartOptions(SlaveStartOptions, frozen=True, kw_only=True):
    """`gproc restart`.  nodes: a specification, not yet parsed."""

    nodes: str


class UpgradeOptions(SlaveStartOptions, frozen=True, kw_only=True):
    """`gproc upgrade`.  nodes: a specification, in words; () for all.  timeout_s: for jobs to end; None: as
    long as they run."""

    nodes: tuple[str, ...] = ()
    timeout_s: float | None = None


class RemoveOptions(SshOptions, frozen=True, kw_only=True):
    """`gproc remove`.  nodes: a specification, not yet parsed.  forget: those too that cannot be reached."""

    nodes: str
    forget: bool = False
    socket: str = DEFAULT_SOCKET
    bin_root: str = DEFAULT_BIN_ROOT
    json: bool = False
    debug: int = 0


class DrainOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`gproc drain`.  nodes: a specification, in words; () to see which nodes are drained."""

    nodes: tuple[str, ...] = ()
    reason: str = ""
    resume: bool = False
    socket: str = DEFAULT_SOCKET
    debug: int = 0
